//! Functions that scripts in circulation trace and that newer kernels call otherwise.
//!
//! Used only to explain a function that is not there: which name exists is asked of the running kernel,
//! the versions are for the reader.

/// Old name, newer names in the order in which they came.
const RENAMED: &[(&str, &[&str])] = &[
    // 5.17 (c504e5c2f964) and 6.11 (ba8de796baf4): a drop reason, then the socket, became arguments.
    ("kfree_skb", &["kfree_skb_reason", "sk_skb_reason_drop"]),
    ("kfree_skb_reason", &["sk_skb_reason_drop"]),
    // 6.18: napi_gro_receive became an inline function around it.
    ("napi_gro_receive", &["gro_receive_skb"]),
    // 4.17: system calls got a prefix of their architecture.
    ("sys_open", &["__x64_sys_open", "__arm64_sys_open"]),
    ("sys_read", &["__x64_sys_read", "__arm64_sys_read"]),
    ("sys_write", &["__x64_sys_write", "__arm64_sys_write"]),
    ("sys_execve", &["__x64_sys_execve", "__arm64_sys_execve"]),
    ("sys_clone", &["__x64_sys_clone", "__arm64_sys_clone"]),
    // 5.10: fork became a clone with arguments.
    ("_do_fork", &["kernel_clone"]),
    ("do_fork", &["_do_fork", "kernel_clone"]),
    // Block accounting became inline functions around these.
    ("blk_account_io_start", &["__blk_account_io_start"]),
    ("blk_account_io_done", &["__blk_account_io_done"]),
];

/// The names that a function got later, oldest first; empty when none is known.
pub fn successors(name: &str) -> &'static [&'static str] {
    RENAMED.iter().find(|(old, _)| *old == name).map_or(&[], |(_, new)| new)
}
