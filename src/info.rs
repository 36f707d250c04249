//! `rtrace --info`: what the running kernel offers, under the names that the reference has for it, with the version of
//! Linux that has it first. Each is asked of the kernel itself where that is possible: distributions backport.

use rtrace_lang::kernel::{Feature, Machine, Tracepoints, Version};
use rtrace_runtime::system::System;

/// Name, number in the kernel's interface (linux/bpf.h), first version.
type Numbered = (&'static str, u32, Version);

/// `enum bpf_func_id`.
const HELPERS: &[Numbered] = &[
    ("copy_from_user_task", 191, Version(5, 18)),
    ("find_vma", 180, Version(5, 17)),
    ("for_each_map_elem", 164, Version(5, 13)),
    ("get_attach_cookie", 174, Version(5, 15)),
    ("get_boot_ns", 125, Version(5, 8)),
    ("get_current_cgroup_id", 80, Version(4, 18)),
    ("get_current_task_btf", 158, Version(5, 11)),
    ("get_func_ip", 173, Version(5, 15)),
    ("get_ns_current_pid_tgid", 120, Version(5, 7)),
    ("get_stack", 67, Version(4, 18)),
    ("get_tai_ns", 208, Version(6, 1)),
    ("jiffies64", 118, Version(5, 5)),
    ("lookup_percpu_elem", 195, Version(5, 19)),
    ("loop", 181, Version(5, 17)),
    ("override_return", 58, Version(4, 16)),
    ("probe_read_kernel", 113, Version(5, 5)),
    ("probe_read_kernel_str", 115, Version(5, 5)),
    ("probe_read_user", 112, Version(5, 5)),
    ("probe_read_user_str", 114, Version(5, 5)),
    ("ringbuf_reserve", 131, Version(5, 8)),
    ("send_signal", 109, Version(5, 3)),
    ("snprintf", 165, Version(5, 13)),
    ("strncmp", 182, Version(5, 17)),
    ("task_pt_regs", 175, Version(5, 15)),
];

/// `enum bpf_map_type`.
const MAPS: &[Numbered] = &[
    ("array", 2, Version(3, 19)),
    ("hash", 1, Version(3, 19)),
    ("lru_hash", 9, Version(4, 10)),
    ("lru_percpu_hash", 10, Version(4, 10)),
    ("percpu_array", 6, Version(4, 6)),
    ("percpu_hash", 5, Version(4, 6)),
    ("perf_event_array", 4, Version(4, 3)),
    ("ringbuf", 27, Version(5, 8)),
    ("stack_trace", 7, Version(4, 6)),
];

/// `enum bpf_prog_type`.
const PROGRAMS: &[Numbered] = &[
    ("kprobe", 2, Version(4, 1)),
    ("perf_event", 7, Version(4, 9)),
    ("raw_tracepoint", 17, Version(4, 17)),
    ("tracepoint", 5, Version(4, 7)),
];

/// A name, the first version of Linux that has it, and whether this kernel does.
type Answer = (&'static str, Version, bool);

/// Name, first version, whether it is there.
type Row = (&'static str, Version, fn(&System) -> bool);

const FEATURES: &[Row] = &[
    ("atomic instructions", Version(5, 12), |s| s.kernel.has(Feature::AtomicFetch)),
    ("btf", Version(5, 2), |s| s.kernel.has_btf()),
    ("dpath", Version(5, 10), |s| s.kernel.version() >= Version(5, 10)),
    ("instruction set v4", Version(6, 6), |s| s.kernel.has(Feature::CpuV4)),
    ("missed hits of kprobes", Version(6, 7), |s| s.kernel.version() >= Version(6, 7)),
    ("module btf", Version(5, 11), |s| s.kernel.has_btf() && s.kernel.version() >= Version(5, 11)),
];

const PROBES: &[Row] = &[
    ("fentry", Version(5, 5), |s| s.kernel.has_btf()),
    ("kprobe_multi", Version(5, 18), |s| s.kernel.has(Feature::KprobeMulti)),
    ("kprobe_session", Version(6, 10), |s| s.kernel.has(Feature::KprobeSession)),
    ("perf_event link", Version(5, 15), |s| s.kernel.has(Feature::AttachCookie)),
    ("tracepoint", Version(4, 7), |s| s.kernel.tracepoints("sched", "sched_switch").is_ok_and(|t| !t.is_empty())),
    ("uprobe_multi", Version(6, 6), |s| s.kernel.has(Feature::UprobeMulti)),
];

pub fn text(system: &System) -> String {
    let os = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut out = format!(
        "System\n  OS: Linux {}\n  Arch: {}\n\nBuild\n  version: v{}\n",
        os.trim_end(),
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION")
    );
    let rows = |list: &[Row]| list.iter().map(|(name, since, there)| (*name, *since, there(system))).collect();
    let numbered = |list: &[Numbered], there: &dyn Fn(u32, Version) -> bool| {
        list.iter().map(|(name, number, since)| (*name, *since, there(*number, *since))).collect()
    };
    let sections: [(&str, Vec<Answer>); 5] = [
        (
            "Kernel helpers",
            numbered(HELPERS, &|n, since| i32::try_from(n).is_ok_and(|n| system.kernel.has_helper(n, since))),
        ),
        ("Kernel features", rows(FEATURES)),
        ("Map types", numbered(MAPS, &|n, since| system.kernel.has_map(n, since))),
        ("Program types", numbered(PROGRAMS, &|n, since| system.kernel.has_program(n, since))),
        ("Probe types", rows(PROBES)),
    ];
    for (title, rows) in sections {
        out.push_str(&format!("\n{title}\n"));
        for (name, since, there) in rows {
            out.push_str(&format!("  {name}: {} (Linux {since})\n", if there { "yes" } else { "no" }));
        }
    }
    out
}
