//! Flags that BPF helpers take (include/uapi/linux/bpf.h).

pub const BPF_ANY: i64 = 0;
pub const BPF_NOEXIST: i64 = 1;
pub const BPF_F_CURRENT_CPU: i64 = 0xffff_ffff;
pub const BPF_F_USER_STACK: i64 = 1 << 8;
pub const BPF_F_USER_BUILD_ID: i64 = 1 << 11;
