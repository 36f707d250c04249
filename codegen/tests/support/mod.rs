//! Shared by the tests of code generation: scripts compiled against the recorded kernel.

#![allow(
    dead_code,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its own part; a test fails by panicking"
)]

use rtrace_codegen::{Options, Output};
use rtrace_lang::config;
use rtrace_lang::diag::render;
use rtrace_lang::driver;
use rtrace_lang::kernel::Version;
use rtrace_lang::source::SourceMap;
pub use rtrace_test_support::kernel;
use rtrace_test_support::{Recorded, kernel_at};

/// Compiles a script, or fails the test with the messages.
pub fn compile(script: &str) -> Output {
    try_compile(script).unwrap_or_else(|text| panic!("{script}\n{text}"))
}

/// The messages of a script that the checker refuses count as success of nothing: `None`.
pub fn try_compile(script: &str) -> Result<Output, String> {
    try_compile_for(script, &modern())
}

/// Compiles a script for a kernel of this version whose types are those of the recorded one.
pub fn compile_on(version: Version, script: &str) -> Output {
    compile_with(&kernel_at(version), script, &Options::default()).unwrap_or_else(|text| panic!("{script}\n{text}"))
}

/// The features of a current kernel.
pub fn modern() -> Options {
    Options { atomics: true, for_each: true, bpf_loop: true, ..Options::default() }
}

/// The same for a kernel that has only what the options say.
pub fn try_compile_for(script: &str, how: &Options) -> Result<Output, String> {
    compile_with(&kernel(), script, how)
}

fn compile_with(kernel: &Recorded, script: &str, how: &Options) -> Result<Output, String> {
    let mut sources = SourceMap::default();
    sources.add("script.rt", script);
    let mut options = config::Options { unsafe_: true, ..config::Options::default() };
    let text = |d: Vec<rtrace_lang::diag::Diagnostic>| render(&d, &sources, false);
    let ast = driver::parse(&sources, 0).map_err(text)?;
    let typed = driver::analyse(ast, &mut options, &sources, kernel.facts()).map_err(text)?;
    let how = Options { bpf: true, ..how.clone() };
    rtrace_codegen::compile(&typed, &sources, &how).map_err(text)
}

/// A script of so many probes, of kinds that users mix: arguments, maps, predicates, strings, output.
pub fn mixed_script(probes: usize) -> String {
    let functions = ["vfs_read", "vfs_write", "vfs_readv", "tcp_sendmsg", "tcp_connect", "ip_rcv", "ip_output"];
    let probe = |i: usize| {
        let (function, map) = (functions[i % functions.len()], i % 20);
        match i % 5 {
            0 => {
                format!("kprobe:{function} /pid > {i}/ {{ @count{map}[comm, pid] = count(); @sum{map} = sum(arg2); }}")
            }
            1 => format!("tracepoint:syscalls:sys_enter_read {{ @sizes{map} = hist(args.count + {i}); }}"),
            2 => format!(
                "tracepoint:sched:sched_switch /args.next_pid == {i}/ \
                 {{ printf(\"%s -> %s {i}\\n\", args.prev_comm, args.next_comm); }}"
            ),
            3 => format!(
                "kprobe:vfs_read {{ $file = (struct file *)arg0; \
                 @names{map}[str($file->f_path.dentry->d_name.name)] += {i}; }}"
            ),
            _ => format!(
                "tracepoint:syscalls:sys_enter_openat {{ @start[tid] = nsecs; \
                 if (strncmp(str(args.filename), \"/etc/{i}\", 5) == 0) {{ printf(\"%d %s\\n\", pid, str(args.filename)); }} }}"
            ),
        }
    };
    (0..probes).map(|i| probe(i) + "\n").collect()
}
