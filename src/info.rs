//! `rtrace --info`: what the running kernel offers.

use rtrace_lang::kernel::{Feature, Kernel};
use rtrace_runtime::kernel::LiveKernel;

/// The features that the compiler and the loader choose by, with what they are for.
const FEATURES: &[(Feature, &str)] = &[
    (Feature::KprobeMulti, "kprobe.multi (wildcards through one link)"),
    (Feature::UprobeMulti, "uprobe.multi"),
    (Feature::AttachCookie, "attach cookies"),
    (Feature::GetFuncIp, "bpf_get_func_ip"),
    (Feature::Loop, "bpf_loop"),
    (Feature::ForEachMapElem, "bpf_for_each_map_elem"),
    (Feature::AtomicFetch, "atomic instructions"),
    (Feature::CpuV4, "BPF instruction set v4"),
];

pub fn text(kernel: &LiveKernel) -> String {
    let mut out = format!("rtrace v{}\nkernel: {}\n", env!("CARGO_PKG_VERSION"), kernel.version());
    out.push_str(&format!("type information (BTF): {}\n", yes(kernel.has_btf())));
    out.push_str(&format!(
        "tracepoints: {}\n",
        yes(kernel.tracepoints("sched", "sched_switch").is_ok_and(|t| !t.is_empty()))
    ));
    for (feature, what) in FEATURES {
        out.push_str(&format!("{what}: {}\n", yes(kernel.has(*feature))));
    }
    out
}

fn yes(there: bool) -> &'static str {
    if there { "yes" } else { "no" }
}
