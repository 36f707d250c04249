//! Attach points: everything the runtime needs to attach a program, nothing of the kernel it was compiled on.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    Begin,
    End,
    /// When this signal comes to the process that traces.
    Signal {
        number: i32,
    },
    Test {
        name: String,
    },
    Bench {
        name: String,
    },
    Kprobe {
        function: String,
        module: Option<String>,
        offset: u64,
        ret: bool,
        /// Several functions have this name, and all of them are meant: a multi link by name takes one. Only known of
        /// those that ask for such a link.
        shared: bool,
    },
    /// fentry or fexit: the BTF id is in the id space of `module` (vmlinux when `None`).
    Trampoline {
        function: String,
        module: Option<String>,
        btf_id: u32,
    },
    /// fentry or fexit of a BPF program, or of a function that it calls: the BTF id is in the program's own id space.
    BpfFunction {
        /// Its number, which is good as long as it is loaded.
        program: u32,
        function: String,
        btf_id: u32,
    },
    Tracepoint {
        category: String,
        name: String,
    },
    RawTracepoint {
        name: String,
        /// BTF id of the `btf_trace_…` typedef for [`ProgType::BtfTracepoint`].
        btf_id: Option<u32>,
        /// The module whose types have that id; `None` for vmlinux.
        module: Option<String>,
    },
    Uprobe {
        path: String,
        symbol: String,
        /// In the file.
        offset: u64,
        ret: bool,
    },
    /// A static probe: a place in a file.
    Usdt {
        path: String,
        /// In the file.
        offset: u64,
        /// The file offset of the semaphore that counts the listeners; 0 for none.
        semaphore: u64,
    },
    /// One timer, on one CPU.
    Interval {
        nanoseconds: u64,
    },
    /// A timer on every CPU.
    Profile {
        sampling: Sampling,
    },
    /// A perf event of `type`/`config` on every CPU.
    PerfEvent {
        perf_type: u32,
        config: u64,
        period: u64,
    },
    /// For each of the kernel's objects of one kind.
    Iter {
        kind: String,
        /// BTF id of the function `bpf_iter_KIND` in vmlinux.
        btf_id: u32,
        /// A file that runs the program whenever it is read; without it the runtime runs it once.
        pin: Option<String>,
    },
    /// A debug register: on every CPU, or in the process of `-p` or `-c`.
    Watchpoint {
        watched: Watched,
        length: u32,
        access: Access,
    },
}

impl Target {
    /// The file that it is in and the offset in that file, of targets in programs.
    pub fn place(&self) -> Option<(&str, u64)> {
        match self {
            Target::Uprobe { path, offset, .. } | Target::Usdt { path, offset, .. } => Some((path, *offset)),
            Target::Begin
            | Target::End
            | Target::Signal { .. }
            | Target::Test { .. }
            | Target::Bench { .. }
            | Target::Kprobe { .. }
            | Target::Trampoline { .. }
            | Target::BpfFunction { .. }
            | Target::Tracepoint { .. }
            | Target::RawTracepoint { .. }
            | Target::Interval { .. }
            | Target::Profile { .. }
            | Target::PerfEvent { .. }
            | Target::Iter { .. }
            | Target::Watchpoint { .. } => None,
        }
    }

    /// The program or library that it is in.
    pub fn file(&self) -> Option<&str> {
        self.place().map(|(path, _)| path)
    }

    /// The module of the kernel that it names.
    pub fn module(&self) -> Option<&str> {
        match self {
            Target::Kprobe { module, .. }
            | Target::Trampoline { module, .. }
            | Target::RawTracepoint { module, .. } => module.as_deref(),
            Target::Begin
            | Target::End
            | Target::Signal { .. }
            | Target::Test { .. }
            | Target::Bench { .. }
            | Target::BpfFunction { .. }
            | Target::Tracepoint { .. }
            | Target::Uprobe { .. }
            | Target::Usdt { .. }
            | Target::Interval { .. }
            | Target::Profile { .. }
            | Target::PerfEvent { .. }
            | Target::Iter { .. }
            | Target::Watchpoint { .. } => None,
        }
    }

    /// Run by the runtime itself, in its own process: there is nothing to attach to.
    pub fn is_special(&self) -> bool {
        use Target::{Begin, Bench, End, Signal, Test};
        matches!(self, Begin | End | Signal { .. } | Test { .. } | Bench { .. })
    }

    /// Whether it fires when something happens, not when a run comes to it: a run without such a target ends by itself.
    pub fn waits(&self) -> bool {
        use Target::{Begin, Bench, End, Iter, Test};
        !matches!(self, Begin | End | Iter { .. } | Test { .. } | Bench { .. })
    }
}

/// The memory that a watchpoint watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Watched {
    Address(u64),
    /// Of the kernel, whose addresses differ from boot to boot.
    Symbol {
        name: String,
        offset: u64,
    },
}

/// The kind of access that fires a watchpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sampling {
    Hertz(u64),
    Nanoseconds(u64),
}
