//! The operations that code generation has for the table of builtins. A row and its lowering meet by these: each has one
//! row in `builtins/` and one lowering in `codegen/src/builtins/`. Where one of the two is missing, rtrace does not compile.

macro_rules! intrinsics {
    ($($name:ident),* $(,)?) => {
        /// An operation of the running program that no other expression says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Intrinsic { $($name),* }

        impl Intrinsic {
            pub const ALL: &'static [Intrinsic] = &[$(Intrinsic::$name),*];
        }
    };
}

intrinsics! {
    // Who is running.
    Pid, Tid, Uid, Gid, Comm, Cpu, Numaid, Rand, Cgroup, Curtask, Cpid, Ncpus, Signal, SignalThread, Override,
    // Clocks.
    Nsecs, Elapsed, Jiffies,
    // Stacks and symbols.
    Kstack, Ustack, DwUstack, Usym, StackDepth,
    // Strings and memory.
    Str, Buf, Join, Strlen, Strstr, Globmatch, WriteUser, StrConcat, Memcmp, Path,
    // Addresses, packets, sockets.
    Ntop, Macaddr, Skboutput, InNet, Bswap, SocketCookie,
}
