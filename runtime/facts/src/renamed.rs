//! Functions that scripts in circulation trace and that other kernels call otherwise.
//!
//! Used only to explain a function that is not there: which name exists is asked of the running kernel,
//! the versions are for the reader.

/// The names of each function in the order in which they came.
const RENAMED: &[&[&str]] = &[
    // 5.17 (c504e5c2f964) and 6.11 (ba8de796baf4): a drop reason, then the socket, became arguments.
    &["kfree_skb", "kfree_skb_reason", "sk_skb_reason_drop"],
    // 6.18: napi_gro_receive became an inline function around it.
    &["napi_gro_receive", "gro_receive_skb"],
    // 4.17: system calls got a prefix of their architecture.
    &["sys_open", "__x64_sys_open", "__arm64_sys_open"],
    &["sys_read", "__x64_sys_read", "__arm64_sys_read"],
    &["sys_write", "__x64_sys_write", "__arm64_sys_write"],
    &["sys_execve", "__x64_sys_execve", "__arm64_sys_execve"],
    &["sys_clone", "__x64_sys_clone", "__arm64_sys_clone"],
    // 5.10: fork became a clone with arguments.
    &["do_fork", "_do_fork", "kernel_clone"],
    // Block accounting became inline functions around these.
    &["blk_account_io_start", "__blk_account_io_start"],
    &["blk_account_io_done", "__blk_account_io_done"],
];

/// The names that a function has on one kernel or another, oldest first; empty when only this one is known.
pub fn names(name: &str) -> &'static [&'static str] {
    RENAMED.iter().find(|names| names.contains(&name)).copied().unwrap_or_default()
}
