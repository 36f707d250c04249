//! Numbers of the kernel's interface for user space, each in one place: its name there (include/uapi/linux/bpf.h) and the
//! first version of Linux that has it for tracing programs.

use crate::kernel::Version;

/// A number of one of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's name, in small letters and without its prefix.
    pub name: &'static str,
    pub number: u32,
    /// The first version that has it.
    pub since: Version,
}

macro_rules! table {
    ($($name:ident = $number:literal, $text:literal, $major:literal, $minor:literal;)*) => {
        use super::Entry;
        use crate::kernel::Version;

        $(pub const $name: Entry = Entry { name: $text, number: $number, since: Version($major, $minor) };)*

        /// The entry of a number.
        pub fn find(number: u32) -> Option<Entry> {
            match number {
                $($number => Some($name),)*
                _ => None,
            }
        }
    };
}

/// Helpers that BPF programs call: `enum bpf_func_id`.
pub mod helper {
    table! {
        MAP_LOOKUP_ELEM = 1, "map_lookup_elem", 3, 18;
        MAP_UPDATE_ELEM = 2, "map_update_elem", 3, 18;
        MAP_DELETE_ELEM = 3, "map_delete_elem", 3, 18;
        PROBE_READ = 4, "probe_read", 4, 1;
        KTIME_GET_NS = 5, "ktime_get_ns", 4, 1;
        GET_PRANDOM_U32 = 7, "get_prandom_u32", 4, 1;
        GET_SMP_PROCESSOR_ID = 8, "get_smp_processor_id", 4, 1;
        GET_CURRENT_PID_TGID = 14, "get_current_pid_tgid", 4, 2;
        GET_CURRENT_UID_GID = 15, "get_current_uid_gid", 4, 2;
        GET_CURRENT_COMM = 16, "get_current_comm", 4, 2;
        GET_CURRENT_TASK = 35, "get_current_task", 4, 8;
        PROBE_WRITE_USER = 36, "probe_write_user", 4, 8;
        GET_NUMA_NODE_ID = 42, "get_numa_node_id", 4, 10;
        PROBE_READ_STR = 45, "probe_read_str", 4, 11;
        GET_SOCKET_COOKIE = 46, "get_socket_cookie", 5, 12;
        OVERRIDE_RETURN = 58, "override_return", 4, 16;
        GET_STACK = 67, "get_stack", 4, 18;
        GET_CURRENT_CGROUP_ID = 80, "get_current_cgroup_id", 4, 18;
        SEND_SIGNAL = 109, "send_signal", 5, 3;
        SKB_OUTPUT = 111, "skb_output", 5, 5;
        PROBE_READ_USER = 112, "probe_read_user", 5, 5;
        PROBE_READ_KERNEL = 113, "probe_read_kernel", 5, 5;
        PROBE_READ_USER_STR = 114, "probe_read_user_str", 5, 5;
        PROBE_READ_KERNEL_STR = 115, "probe_read_kernel_str", 5, 5;
        SEND_SIGNAL_THREAD = 117, "send_signal_thread", 5, 5;
        JIFFIES64 = 118, "jiffies64", 5, 5;
        GET_NS_CURRENT_PID_TGID = 120, "get_ns_current_pid_tgid", 5, 7;
        KTIME_GET_BOOT_NS = 125, "ktime_get_boot_ns", 5, 8;
        SEQ_PRINTF = 126, "seq_printf", 5, 7;
        SEQ_WRITE = 127, "seq_write", 5, 7;
        RINGBUF_OUTPUT = 130, "ringbuf_output", 5, 8;
        RINGBUF_RESERVE = 131, "ringbuf_reserve", 5, 8;
        RINGBUF_SUBMIT = 132, "ringbuf_submit", 5, 8;
        RINGBUF_DISCARD = 133, "ringbuf_discard", 5, 8;
        D_PATH = 147, "d_path", 5, 10;
        GET_CURRENT_TASK_BTF = 158, "get_current_task_btf", 5, 11;
        FOR_EACH_MAP_ELEM = 164, "for_each_map_elem", 5, 13;
        SNPRINTF = 165, "snprintf", 5, 13;
        GET_FUNC_IP = 173, "get_func_ip", 5, 15;
        GET_ATTACH_COOKIE = 174, "get_attach_cookie", 5, 15;
        TASK_PT_REGS = 175, "task_pt_regs", 5, 15;
        FIND_VMA = 180, "find_vma", 5, 17;
        LOOP = 181, "loop", 5, 17;
        STRNCMP = 182, "strncmp", 5, 17;
        COPY_FROM_USER_TASK = 191, "copy_from_user_task", 5, 18;
        MAP_LOOKUP_PERCPU_ELEM = 195, "map_lookup_percpu_elem", 5, 19;
        KTIME_GET_TAI_NS = 208, "ktime_get_tai_ns", 6, 1;
    }
}

/// `enum bpf_map_type`.
pub mod map_type {
    table! {
        HASH = 1, "hash", 3, 19;
        ARRAY = 2, "array", 3, 19;
        PERF_EVENT_ARRAY = 4, "perf_event_array", 4, 3;
        PERCPU_HASH = 5, "percpu_hash", 4, 6;
        PERCPU_ARRAY = 6, "percpu_array", 4, 6;
        STACK_TRACE = 7, "stack_trace", 4, 6;
        LRU_HASH = 9, "lru_hash", 4, 10;
        LRU_PERCPU_HASH = 10, "lru_percpu_hash", 4, 10;
        HASH_OF_MAPS = 13, "hash_of_maps", 4, 12;
        RINGBUF = 27, "ringbuf", 5, 8;
    }
}

/// `enum bpf_prog_type`.
pub mod prog_type {
    table! {
        KPROBE = 2, "kprobe", 4, 1;
        TRACEPOINT = 5, "tracepoint", 4, 7;
        PERF_EVENT = 7, "perf_event", 4, 9;
        RAW_TRACEPOINT = 17, "raw_tracepoint", 4, 17;
        TRACING = 26, "tracing", 5, 5;
    }
}

/// `enum bpf_attach_type`.
pub mod attach_type {
    table! {
        TRACE_RAW_TP = 23, "trace_raw_tp", 5, 5;
        TRACE_FENTRY = 24, "trace_fentry", 5, 5;
        TRACE_FEXIT = 25, "trace_fexit", 5, 5;
        TRACE_ITER = 28, "trace_iter", 5, 8;
        PERF_EVENT = 41, "perf_event", 5, 15;
        TRACE_KPROBE_MULTI = 42, "trace_kprobe_multi", 5, 18;
        TRACE_UPROBE_MULTI = 48, "trace_uprobe_multi", 6, 6;
        TRACE_KPROBE_SESSION = 56, "trace_kprobe_session", 6, 10;
    }
}

/// Capabilities: linux/capability.h.
pub mod cap {
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const KILL: u32 = 5;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYSLOG: u32 = 34;
    pub const PERFMON: u32 = 38;
    pub const BPF: u32 = 39;
    pub const CHECKPOINT_RESTORE: u32 = 40;
}
