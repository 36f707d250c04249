//! `rtrace --info`: what the running kernel offers, under the names that the reference has for it.

use rtrace_lang::kernel::{Feature, Kernel, Version};
use rtrace_runtime::kernel::LiveKernel;

/// A row of a section: name, whether it is there.
type Row = (&'static str, fn(&LiveKernel) -> bool);

const HELPERS: &[Row] = &[
    ("dpath", |k| k.version() >= Version(5, 10)),
    ("for_each_map_elem", |k| k.has(Feature::ForEachMapElem)),
    ("get_attach_cookie", |k| k.has(Feature::AttachCookie)),
    ("get_func_ip", |k| k.has(Feature::GetFuncIp)),
    ("get_tai_ns", |k| k.version() >= Version(6, 1)),
    ("lookup_percpu_elem", |k| k.version() >= Version(5, 19)),
    ("loop", |k| k.has(Feature::Loop)),
];

const FEATURES: &[Row] = &[
    ("atomic instructions", |k| k.has(Feature::AtomicFetch)),
    ("btf", |k| k.has_btf()),
    ("instruction set v4", |k| k.has(Feature::CpuV4)),
    ("module btf", |k| k.has_btf() && k.version() >= Version(5, 11)),
];

const PROBES: &[Row] = &[
    ("fentry", |k| k.has_btf()),
    ("kprobe_multi", |k| k.has(Feature::KprobeMulti)),
    ("tracepoint", |k| k.tracepoints("sched", "sched_switch").is_ok_and(|t| !t.is_empty())),
    ("uprobe_multi", |k| k.has(Feature::UprobeMulti)),
];

pub fn text(kernel: &LiveKernel) -> String {
    let os = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut out = format!(
        "System\n  OS: Linux {}\n  Arch: {}\n\nBuild\n  version: v{}\n",
        os.trim_end(),
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION")
    );
    for (title, rows) in [("Kernel helpers", HELPERS), ("Kernel features", FEATURES), ("Probe types", PROBES)] {
        out.push_str(&format!("\n{title}\n"));
        for (name, there) in rows {
            out.push_str(&format!("  {name}: {}\n", if there(kernel) { "yes" } else { "no" }));
        }
    }
    out
}
