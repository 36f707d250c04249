//! `rtrace --info`: what the running kernel offers, under the names that the reference has for it, with the version of
//! Linux that has it first. Each is asked of the kernel itself where that is possible: distributions backport.

use rtrace_lang::kernel::{Feature, Machine, Tracepoints, Version};
use rtrace_lang::uapi::{self, helper, map_type, prog_type};
use rtrace_runtime::system::System;

/// The reference's name, and the kernel's entry.
type Numbered = (&'static str, uapi::Entry);

/// `enum bpf_func_id`.
const HELPERS: &[Numbered] = &[
    ("copy_from_user_task", helper::COPY_FROM_USER_TASK),
    ("find_vma", helper::FIND_VMA),
    ("for_each_map_elem", helper::FOR_EACH_MAP_ELEM),
    ("get_attach_cookie", helper::GET_ATTACH_COOKIE),
    ("get_boot_ns", helper::KTIME_GET_BOOT_NS),
    ("get_current_cgroup_id", helper::GET_CURRENT_CGROUP_ID),
    ("get_current_task_btf", helper::GET_CURRENT_TASK_BTF),
    ("get_func_ip", helper::GET_FUNC_IP),
    ("get_ns_current_pid_tgid", helper::GET_NS_CURRENT_PID_TGID),
    ("get_stack", helper::GET_STACK),
    ("get_tai_ns", helper::KTIME_GET_TAI_NS),
    ("jiffies64", helper::JIFFIES64),
    ("lookup_percpu_elem", helper::MAP_LOOKUP_PERCPU_ELEM),
    ("loop", helper::LOOP),
    ("override_return", helper::OVERRIDE_RETURN),
    ("probe_read_kernel", helper::PROBE_READ_KERNEL),
    ("probe_read_kernel_str", helper::PROBE_READ_KERNEL_STR),
    ("probe_read_user", helper::PROBE_READ_USER),
    ("probe_read_user_str", helper::PROBE_READ_USER_STR),
    ("ringbuf_reserve", helper::RINGBUF_RESERVE),
    ("send_signal", helper::SEND_SIGNAL),
    ("snprintf", helper::SNPRINTF),
    ("strncmp", helper::STRNCMP),
    ("task_pt_regs", helper::TASK_PT_REGS),
];

/// `enum bpf_map_type`.
const MAPS: &[Numbered] = &[
    ("array", map_type::ARRAY),
    ("hash", map_type::HASH),
    ("lru_hash", map_type::LRU_HASH),
    ("lru_percpu_hash", map_type::LRU_PERCPU_HASH),
    ("percpu_array", map_type::PERCPU_ARRAY),
    ("percpu_hash", map_type::PERCPU_HASH),
    ("perf_event_array", map_type::PERF_EVENT_ARRAY),
    ("ringbuf", map_type::RINGBUF),
    ("stack_trace", map_type::STACK_TRACE),
];

/// `enum bpf_prog_type`.
const PROGRAMS: &[Numbered] = &[
    ("kprobe", prog_type::KPROBE),
    ("perf_event", prog_type::PERF_EVENT),
    ("raw_tracepoint", prog_type::RAW_TRACEPOINT),
    ("tracepoint", prog_type::TRACEPOINT),
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
        list.iter().map(|(name, entry)| (*name, entry.since, there(entry.number, entry.since))).collect()
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
