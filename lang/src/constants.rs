//! Integer constants that scripts know without an `#include`: the object-like macros and enumerators
//! of the kernel's user interface, and a few kernel-internal ones.
//!
//! `constants.tsv` holds one `NAME<tab>value` line for each, sorted by bytes; `scripts/gen-constants`
//! writes it. A look-up is a binary search in that text: a script that uses two constants must not
//! pay for a table of many thousand at start.
//!
//! Headers and kernel may differ: the table is of one version, and knows what unrelated headers define. So what the
//! script and the running kernel say goes first ([`find`]).

use crate::kernel::Types;
use crate::types::Type;
use rtrace_core::nearest::{Nearest, limit};

const TABLE: &str = include_str!("constants.tsv");

/// Resolves a bare word and its type: an enumerator of the script or the kernel, a constant of the table, or an
/// enumerator of a module.
pub fn find(types: &dyn Types, name: &str) -> Option<(i64, Type)> {
    let of_table = || {
        let value = lookup(name)?;
        let ty = if value > i128::from(i64::MAX) { Type::U64 } else { Type::I64 };
        Some((value as i64, ty))
    };
    types.enumerator(name).or_else(of_table).or_else(|| types.module_enumerator(name))
}

/// The value of a constant in the table.
pub fn lookup(name: &str) -> Option<i128> {
    let table = TABLE.as_bytes();
    let (mut low, mut high) = (0, table.len());
    // `low` and `high` are always starts of lines, or the end.
    while low < high {
        let middle = low + (high - low) / 2;
        let start = table.get(..middle)?.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1).max(low);
        let rest = table.get(start..)?;
        let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let (key, value) = split(TABLE.get(start..start + length)?);
        match key.cmp(name) {
            std::cmp::Ordering::Equal => return value.parse().ok(),
            std::cmp::Ordering::Less => low = start + length + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    None
}

/// The constant whose name is closest to a misspelt one.
pub fn nearest(name: &str) -> Option<String> {
    let limit = limit(name);
    let wanted = letters(name);
    let mut best = Nearest::new(name);
    // An edit adds one letter at most, and takes one away.
    let may_be = |n: &&str| (letters(n) ^ wanted).count_ones() as usize <= 2 * limit;
    names().filter(may_be).for_each(|n| best.offer(n.as_bytes()));
    best.take()
}

/// The letters of a name as bits: a quick look before the distance, which takes 50 times as long.
fn letters(name: &str) -> u32 {
    name.bytes().fold(0, |bits, b| bits | 1 << (b & 31))
}

/// The constants of the table whose names begin so, in byte order, with the values that they have here.
pub fn with_prefix(types: &dyn Types, prefix: &str) -> Vec<(String, i64)> {
    let names = names().filter(|n| n.starts_with(prefix));
    names.filter_map(|name| Some((name.to_owned(), find(types, name)?.0))).collect()
}

/// Whether the names of some constants begin so.
pub fn has_prefix(prefix: &str) -> bool {
    names().any(|n| n.starts_with(prefix))
}

/// All names, in byte order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|l| !l.starts_with('#')).map(|l| split(l).0)
}

fn split(line: &str) -> (&str, &str) {
    line.split_once('\t').unwrap_or((line, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_unique() {
        let mut last = "";
        for name in names() {
            assert!(last < name, "{last} before {name}");
            last = name;
        }
        assert!(TABLE.starts_with("# "));
    }

    #[test]
    fn every_line_is_found() {
        for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = split(line);
            assert_eq!(lookup(name), Some(value.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn known_values() {
        let known = [
            ("AF_INET", 2),
            ("AF_INET6", 10),
            ("PF_UNIX", 1),
            ("SOCK_STREAM", 1),
            ("IPPROTO_TCP", 6),
            ("IPPROTO_UDP", 17),
            ("IPPROTO_ICMPV6", 58),
            ("ETH_P_IP", 0x800),
            ("ETH_ALEN", 6),
            ("O_CREAT", 0o100),
            ("O_LARGEFILE", 0o100000),
            ("ENOENT", 2),
            ("EAGAIN", 11),
            ("EWOULDBLOCK", 11),
            ("SIGKILL", 9),
            ("SIGCHLD", 17),
            ("S_IFMT", 0o170000),
            ("S_IRUSR", 0o400),
            ("CLONE_NEWNET", 0x4000_0000),
            ("MAP_ANONYMOUS", 0x20),
            ("PROT_EXEC", 4),
            ("MSG_PEEK", 2),
            ("SO_REUSEADDR", 2),
            ("SOL_SOCKET", 1),
            ("TCP_ESTABLISHED", 1),
            ("TCP_LISTEN", 10),
            ("TCP_NODELAY", 1),
            ("__NR_read", 0),
            ("__NR_execve", 59),
            ("NF_DROP", 0),
            ("NFPROTO_IPV6", 10),
            ("IFF_UP", 1),
            ("IFNAMSIZ", 16),
            ("PATH_MAX", 4096),
            ("TASK_UNINTERRUPTIBLE", 2),
            ("PF_KTHREAD", 0x20_0000),
            ("TASK_COMM_LEN", 16),
            ("NSEC_PER_SEC", 1_000_000_000),
            ("PAGE_SIZE", 4096),
            ("FMODE_WRITE", 2),
            ("REQ_OP_WRITE", 1),
            ("ICMP_ECHO", 8),
            ("ICMPV6_ECHO_REQUEST", 128),
            ("ARPHRD_ETHER", 1),
            ("RTM_NEWROUTE", 24),
            ("NETLINK_ROUTE", 0),
            ("FUTEX_WAIT", 0),
            ("EPOLLIN", 1),
            ("POLLIN", 1),
            ("RLIMIT_NOFILE", 7),
            ("PTRACE_ATTACH", 16),
            ("SECCOMP_RET_ALLOW", 0x7fff_0000),
            ("BPF_MAP_TYPE_RINGBUF", 27),
            ("PERF_COUNT_SW_CPU_CLOCK", 0),
            ("CAP_SYS_ADMIN", 21),
            ("IPV6_V6ONLY", 26),
            ("IP_TTL", 2),
            ("AT_FDCWD", -100),
            ("UINT64_MAX", u64::MAX as i128),
        ];
        for (name, value) in known {
            assert_eq!(lookup(name), Some(value), "{name}");
        }
        assert_eq!(lookup("no_such_constant"), None);
        assert_eq!(lookup(""), None);
        assert_eq!(lookup("HZ"), None);
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        assert_eq!(nearest("IPPROTO_TPC").as_deref(), Some("IPPROTO_TCP"));
        assert_eq!(nearest("completely_unlike_anything").as_deref(), None);
    }
}
