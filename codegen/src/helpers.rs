//! Numbers of the BPF helpers that compiled programs call (`enum bpf_func_id`), and the few flags
//! they take. Only numbers: which kernel has what is the builtin table's business.

pub const MAP_LOOKUP_ELEM: u32 = 1;
pub const MAP_UPDATE_ELEM: u32 = 2;
pub const MAP_DELETE_ELEM: u32 = 3;
pub const KTIME_GET_NS: u32 = 5;
pub const GET_PRANDOM_U32: u32 = 7;
pub const GET_SMP_PROCESSOR_ID: u32 = 8;
pub const GET_CURRENT_PID_TGID: u32 = 14;
pub const GET_CURRENT_UID_GID: u32 = 15;
pub const GET_CURRENT_COMM: u32 = 16;
pub const GET_CURRENT_TASK: u32 = 35;
pub const GET_NUMA_NODE_ID: u32 = 42;
pub const OVERRIDE_RETURN: u32 = 58;
pub const GET_STACK: u32 = 67;
pub const GET_CURRENT_CGROUP_ID: u32 = 80;
pub const SEND_SIGNAL: u32 = 109;
pub const SKB_OUTPUT: u32 = 111;
pub const PROBE_READ_USER: u32 = 112;
pub const PROBE_READ_KERNEL: u32 = 113;
pub const PROBE_READ_USER_STR: u32 = 114;
pub const PROBE_READ_KERNEL_STR: u32 = 115;
pub const KTIME_GET_BOOT_NS: u32 = 125;
pub const RINGBUF_OUTPUT: u32 = 130;
pub const RINGBUF_RESERVE: u32 = 131;
pub const RINGBUF_SUBMIT: u32 = 132;
pub const RINGBUF_DISCARD: u32 = 133;
pub const GET_ATTACH_COOKIE: u32 = 174;
pub const MAP_LOOKUP_PERCPU_ELEM: u32 = 195;
pub const KTIME_GET_TAI_NS: u32 = 208;

pub const BPF_ANY: i64 = 0;
pub const BPF_NOEXIST: i64 = 1;
pub const BPF_F_CURRENT_CPU: i64 = 0xffff_ffff;
pub const BPF_F_USER_STACK: i64 = 1 << 8;

pub const MAP_TYPE_PERCPU_ARRAY: u32 = 6;
