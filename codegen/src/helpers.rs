//! Numbers of the BPF helpers that compiled programs call (`enum bpf_func_id`), and the few flags
//! they take. Only numbers: which kernel has what is the builtin table's business.

macro_rules! helpers {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        $(pub const $name: u32 = $id;)*

        /// The name of a helper, as the kernel has it.
        pub fn name(id: u32) -> Option<&'static str> {
            match id {
                $($id => Some($text),)*
                _ => None,
            }
        }
    };
}

helpers! {
    MAP_LOOKUP_ELEM = 1, "map_lookup_elem";
    MAP_UPDATE_ELEM = 2, "map_update_elem";
    MAP_DELETE_ELEM = 3, "map_delete_elem";
    PROBE_READ = 4, "probe_read";
    KTIME_GET_NS = 5, "ktime_get_ns";
    GET_PRANDOM_U32 = 7, "get_prandom_u32";
    GET_SMP_PROCESSOR_ID = 8, "get_smp_processor_id";
    GET_CURRENT_PID_TGID = 14, "get_current_pid_tgid";
    GET_CURRENT_UID_GID = 15, "get_current_uid_gid";
    GET_CURRENT_COMM = 16, "get_current_comm";
    GET_CURRENT_TASK = 35, "get_current_task";
    PROBE_WRITE_USER = 36, "probe_write_user";
    GET_NUMA_NODE_ID = 42, "get_numa_node_id";
    PROBE_READ_STR = 45, "probe_read_str";
    GET_SOCKET_COOKIE = 46, "get_socket_cookie";
    OVERRIDE_RETURN = 58, "override_return";
    GET_STACK = 67, "get_stack";
    GET_CURRENT_CGROUP_ID = 80, "get_current_cgroup_id";
    SEND_SIGNAL = 109, "send_signal";
    SKB_OUTPUT = 111, "skb_output";
    PROBE_READ_USER = 112, "probe_read_user";
    PROBE_READ_KERNEL = 113, "probe_read_kernel";
    PROBE_READ_USER_STR = 114, "probe_read_user_str";
    PROBE_READ_KERNEL_STR = 115, "probe_read_kernel_str";
    SEND_SIGNAL_THREAD = 117, "send_signal_thread";
    JIFFIES64 = 118, "jiffies64";
    GET_NS_CURRENT_PID_TGID = 120, "get_ns_current_pid_tgid";
    KTIME_GET_BOOT_NS = 125, "ktime_get_boot_ns";
    SEQ_PRINTF = 126, "seq_printf";
    SEQ_WRITE = 127, "seq_write";
    RINGBUF_OUTPUT = 130, "ringbuf_output";
    RINGBUF_RESERVE = 131, "ringbuf_reserve";
    RINGBUF_SUBMIT = 132, "ringbuf_submit";
    RINGBUF_DISCARD = 133, "ringbuf_discard";
    GET_CURRENT_TASK_BTF = 158, "get_current_task_btf";
    FOR_EACH_MAP_ELEM = 164, "for_each_map_elem";
    D_PATH = 147, "d_path";
    GET_FUNC_IP = 173, "get_func_ip";
    GET_ATTACH_COOKIE = 174, "get_attach_cookie";
    TASK_PT_REGS = 175, "task_pt_regs";
    LOOP = 181, "loop";
    MAP_LOOKUP_PERCPU_ELEM = 195, "map_lookup_percpu_elem";
    KTIME_GET_TAI_NS = 208, "ktime_get_tai_ns";
}

pub const BPF_ANY: i64 = 0;
pub const BPF_NOEXIST: i64 = 1;
pub const BPF_F_CURRENT_CPU: i64 = 0xffff_ffff;
pub const BPF_F_USER_STACK: i64 = 1 << 8;
pub const BPF_F_USER_BUILD_ID: i64 = 1 << 11;

pub const MAP_TYPE_ARRAY: u32 = 2;
pub const MAP_TYPE_PERCPU_ARRAY: u32 = 6;
