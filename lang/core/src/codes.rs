//! The table of diagnostics: a code, its title, what it means, a failing and a mended example.
//! `rtrace --explain RT0203` prints a row. RT01xx syntax, RT02xx names and types, RT03xx probes,
//! RT04xx what the kernel or the machine lacks, RT05xx code generation.

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal, $text:literal, $bad:literal, $good:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($name),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// `RT0203`
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => concat!("RT", $number)),* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }

            /// The meaning of the code and how to fix the error.
            pub fn explanation(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }

            /// A script that gives it, and the same mended; empty where a script cannot show it.
            pub fn examples(self) -> (&'static str, &'static str) {
                match self { $(Code::$name => ($bad, $good)),* }
            }
        }
    };
}

codes! {
    Syntax = "0101", "syntax error",
        "The script does not follow the grammar at the marked place. The message lists what was expected there.",
        "begin { exit( }", "begin { exit() }";
    EmptyScript = "0102", "the script has no probe",
        "A script needs at least one probe: an attach point and a block in braces.",
        "", "begin { exit() }";
    UnsupportedSyntax = "0103", "not supported",
        "The construct is part of the language, but this version cannot compile it.", "", "";
    BadHeader = "0105", "error in a header",
        "A header that the script includes was not found, or libclang reports errors in it. Definitions near the \
        errors may be missing or wrong.", "", "";
    BadImport = "0104", "cannot import a file",
        "The file or directory of an `import` does not exist, may not be used, or imports itself.", "", "";
    UnknownName = "0201", "unknown name",
        "The name is not a builtin, function, constant or enumerator.",
        "begin { print(pidd) }", "begin { print(pid) }";
    UnknownType = "0202", "unknown type",
        "Neither the kernel's type information (BTF) nor the script has a type of that name.",
        "begin { print(((struct task_strukt *)curtask)->pid) }", "begin { print(((struct task_struct *)curtask)->pid) }";
    UnknownField = "0203", "unknown field",
        "The struct, tracepoint or function has no member of that name.",
        "begin { print(curtask->pidd) }", "begin { print(curtask->pid) }";
    WrongType = "0204", "wrong type",
        "The expression has a type that cannot be used here.",
        "begin { @ = count(); @ = \"x\" }", "begin { @a = count(); @b = \"x\" }";
    WrongArgumentCount = "0205", "wrong number of arguments",
        "The function is called with too few or too many arguments.", "begin { print() }", "begin { print(1) }";
    NotAllowedHere = "0206", "not allowed in this probe type",
        "The function or builtin needs a BPF program type other than that of this probe.",
        "kprobe:napi_gro_receive { skboutput(\"r.pcap\", arg1, 64, 0) }",
        "fentry:napi_gro_receive { skboutput(\"r.pcap\", args.skb, args.skb->len, 0) }";
    Unset = "0207", "used before it is assigned",
        "A variable is read before a value is assigned to it.",
        "begin { print($x) }", "begin { $x = 1; print($x) }";
    BadFormat = "0208", "bad format string",
        "The format string does not match its arguments.",
        "begin { printf(\"%d\\n\", comm) }", "begin { printf(\"%s\\n\", comm) }";
    NeedsUnsafe = "0209", "needs --unsafe",
        "The function changes the system; it is allowed only with `--unsafe`.",
        "begin { system(\"ls\") }", "";
    BadValue = "0210", "value out of range",
        "A constant is outside the allowed range.", "begin { @ = lhist(1, 10, 0, 1) }", "begin { @ = lhist(1, 0, 10, 1) }";
    BadMapUse = "0211", "inconsistent use of a map",
        "A map is used with and without a key, or with keys of different types.",
        "begin { @a = 1; @a[1] = 2 }", "begin { @a = 1; @b[1] = 2 }";
    ConfigValue = "0212", "unknown setting or invalid value",
        "A `config` variable is unknown or its value is invalid.",
        "config = { max_strlenn = 10 } begin { }", "config = { max_strlen = 10 } begin { }";
    MissingParameter = "0213", "missing or invalid parameter",
        "A parameter of the script is missing, or its value does not have the type that the script expects.",
        "kprobe:$1 { }", "kprobe:vfs_read { }";
    Asserted = "0214", "assertion failed at compile time",
        "The condition of a `static_assert` is false, or the script calls `fail`.",
        "begin { static_assert(sizeof(uint8) == 2, \"bytes are larger here\") }",
        "begin { static_assert(sizeof(uint8) == 1, \"bytes are larger here\") }";
    BadParameter = "0215", "unknown named parameter or conflicting declarations",
        "A parameter `--name` is given that the script does not declare with `getopt`, or the script declares it \
        with different defaults. `rtrace SCRIPT --help` lists the parameters.",
        "begin { print((getopt(\"limit\", 1), getopt(\"limit\", 2))) }", "begin { print((getopt(\"limit\", 1), getopt(\"limit\", 1))) }";
    ByteOrder = "0216", "byte order mismatch",
        "A warning. Fields declared as `__be16`, `__be32` or `__be64` are in network byte order; other numbers \
        are in host byte order. Convert the field with ntohs(), ntohl() or bswap(), or the number with htons() \
        or htonl().",
        "fentry:tcp_connect /args.sk->__sk_common.skc_dport == 443/ { exit() }",
        "fentry:tcp_connect /ntohs(args.sk->__sk_common.skc_dport) == 443/ { exit() }";
    NameTaken = "0217", "name already in use",
        "A function has the same name as a builtin, a macro or another function.",
        "fn pid() : int64 { return 1 } begin { print(pid) }", "fn mine() : int64 { return 1 } begin { print(mine()) }";
    Recursion = "0218", "recursive function",
        "A function calls itself, directly or indirectly. The kernel does not support recursive functions.",
        "fn f($n: int64) : int64 { return f($n - 1) } begin { print(f(3)) }",
        "fn f($n: int64) : int64 { return $n - 1 } begin { print(f(3)) }";
    NoResult = "0219", "missing return value",
        "A function with a result type must return a value on every path.",
        "fn f($n: int64) : int64 { if ($n > 0) { return 1 } } begin { print(f(3)) }",
        "fn f($n: int64) : int64 { if ($n > 0) { return 1 } return 0 } begin { print(f(3)) }";
    UnknownProbe = "0301", "unknown probe type",
        "The word before the first colon of an attach point is the probe type.", "kprob:vfs_read { }", "kprobe:vfs_read { }";
    BadTarget = "0302", "malformed attach point",
        "The parts of an attach point depend on its probe type, as in `kprobe:function` or `tracepoint:category:name`.",
        "tracepoint:sched { }", "tracepoint:sched:sched_switch { }";
    NoSuchTarget = "0303", "attach target not found",
        "The kernel or the program has no such function, tracepoint or event.",
        "tracepoint:sched:sched_swich { }", "tracepoint:sched:sched_switch { }";
    TooManyTargets = "0304", "too many attach points",
        "A wildcard matches more targets than `max_probes` allows.",
        "config = { max_probes = 4 } kprobe:vfs_* { }", "config = { max_probes = 4 } kprobe:vfs_read* { }";
    SharedName = "0305", "ambiguous function name",
        "A warning. Several kernel functions have this name. For fentry and fexit, the kernel looks the function \
        up by name and uses the first; kprobe and kretprobe attach to all of them.", "", "";
    KernelLacks = "0401", "not supported by this kernel",
        "The running kernel is too old or was built without a feature that this needs.", "", "";
    NoFacts = "0402", "kernel information not available",
        "The kernel's type information or tracefs cannot be read.", "", "";
    TooLarge = "0501", "too large for BPF",
        "A value, a map key or a program is larger than the kernel allows.", "", "";
    Internal = "0503", "internal error",
        "A pass of the compiler received something that the passes before it should have rejected. This is a bug in rtrace: please report it with the script.", "", "";
    Rejected = "0502", "program rejected by the kernel",
        "The BPF verifier of the kernel rejected the program. This is likely a bug in the compiler: please report it.", "", "";
}

impl Code {
    /// The row of a code as written, `RT0203` or `0203`.
    pub fn find(text: &str) -> Option<Code> {
        let digits = text.trim_start_matches("RT").trim_start_matches("rt");
        Code::ALL.iter().copied().find(|c| c.name().ends_with(digits) && digits.len() == 4)
    }
}
