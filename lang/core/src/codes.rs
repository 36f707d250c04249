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

            /// What it means and what to do.
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
        "The script does not follow the grammar at the marked place. The message lists what could stand there.",
        "begin { exit( }", "begin { exit() }";
    EmptyScript = "0102", "the script has no probe",
        "A script needs at least one probe: an attach point and a block in braces.",
        "", "begin { exit() }";
    UnsupportedSyntax = "0103", "not supported",
        "The construct is part of the language but this version cannot compile it.", "", "";
    BadHeader = "0105", "a header cannot be read as it should",
        "A header that the script includes is not found, or libclang finds errors in it. What is defined where the errors are may be missing or wrong.", "", "";
    BadImport = "0104", "a file cannot be imported",
        "The file or folder of an `import` is not there, may not be used, or imports itself.", "", "";
    UnknownName = "0201", "unknown name",
        "The name is no builtin, function, constant or enumerator that is known here.",
        "begin { print(pidd) }", "begin { print(pid) }";
    UnknownType = "0202", "unknown type",
        "No type of that name is in the kernel's type information (BTF) or in the script.",
        "begin { print(((struct task_strukt *)curtask)->pid) }", "begin { print(((struct task_struct *)curtask)->pid) }";
    UnknownField = "0203", "unknown field",
        "The struct, tracepoint or function has no member of that name.",
        "begin { print(curtask->pidd) }", "begin { print(curtask->pid) }";
    WrongType = "0204", "wrong type",
        "The expression has a type that cannot be used here.",
        "begin { @ = count(); @ = \"x\" }", "begin { @a = count(); @b = \"x\" }";
    WrongArgumentCount = "0205", "wrong number of arguments",
        "The function takes fewer or more arguments.", "begin { print() }", "begin { print(1) }";
    NotAllowedHere = "0206", "not allowed in this kind of probe",
        "The function or builtin needs a kind of BPF program that this probe is not attached with.",
        "kprobe:napi_gro_receive { skboutput(\"r.pcap\", arg1, 64, 0) }",
        "fentry:napi_gro_receive { skboutput(\"r.pcap\", args.skb, args.skb->len, 0) }";
    Unset = "0207", "used before it has a value",
        "A variable is read before anything was assigned to it.",
        "begin { print($x) }", "begin { $x = 1; print($x) }";
    BadFormat = "0208", "bad format string",
        "The format string and the arguments after it do not fit together.",
        "begin { printf(\"%d\\n\", comm) }", "begin { printf(\"%s\\n\", comm) }";
    NeedsUnsafe = "0209", "needs --unsafe",
        "The function changes the system; it runs only when `--unsafe` is given.",
        "begin { system(\"ls\") }", "";
    BadValue = "0210", "value out of range",
        "A constant is outside what the place allows.", "begin { @ = lhist(1, 10, 0, 1) }", "begin { @ = lhist(1, 0, 10, 1) }";
    BadMapUse = "0211", "map used in two ways",
        "A map is used with and without a key, or with keys of different shapes.",
        "begin { @a = 1; @a[1] = 2 }", "begin { @a = 1; @b[1] = 2 }";
    ConfigValue = "0212", "unknown or unusable setting",
        "A `config` variable is unknown or its value cannot be used.",
        "config = { max_strlenn = 10 } begin { }", "config = { max_strlen = 10 } begin { }";
    MissingParameter = "0213", "parameter missing or unusable",
        "A parameter of the script is not given, or its value is not of the kind that the script takes.",
        "kprobe:$1 { }", "kprobe:vfs_read { }";
    Asserted = "0214", "the script refuses to run",
        "A `static_assert` of the script does not hold, or the compiler came to a `fail`.",
        "begin { static_assert(sizeof(uint8) == 2, \"bytes are larger here\") }",
        "begin { static_assert(sizeof(uint8) == 1, \"bytes are larger here\") }";
    BadParameter = "0215", "named parameter unknown or declared in two ways",
        "A parameter `--name` is given that the script does not ask for with `getopt`, or the script asks for it with two defaults. `rtrace SCRIPT --help` lists the parameters.",
        "begin { print((getopt(\"limit\", 1), getopt(\"limit\", 2))) }", "begin { print((getopt(\"limit\", 1), getopt(\"limit\", 1))) }";
    ByteOrder = "0216", "bytes in another order",
        "A warning. Fields declared as `__be16`, `__be32` or `__be64` hold numbers in the byte order of the network; \
         plain numbers have that of the machine. ntohs(), ntohl() and bswap() give the number, htons() and htonl() the \
         bytes to compare with.",
        "fentry:tcp_connect /args.sk->__sk_common.skc_dport == 443/ { exit() }",
        "fentry:tcp_connect /ntohs(args.sk->__sk_common.skc_dport) == 443/ { exit() }";
    NameTaken = "0217", "the name is taken",
        "A function has the name of a builtin, of a macro or of another function.",
        "fn pid() : int64 { return 1 } begin { print(pid) }", "fn mine() : int64 { return 1 } begin { print(mine()) }";
    Recursion = "0218", "a function calls itself",
        "A function calls itself, directly or through others. The kernel runs no recursive functions.",
        "fn f($n: int64) : int64 { return f($n - 1) } begin { print(f(3)) }",
        "fn f($n: int64) : int64 { return $n - 1 } begin { print(f(3)) }";
    NoResult = "0219", "a function ends without its result",
        "A function that gives a value must do so on every way through it.",
        "fn f($n: int64) : int64 { if ($n > 0) { return 1 } } begin { print(f(3)) }",
        "fn f($n: int64) : int64 { if ($n > 0) { return 1 } return 0 } begin { print(f(3)) }";
    UnknownProbe = "0301", "unknown kind of probe",
        "The word before the first colon names the kind of probe.", "kprob:vfs_read { }", "kprobe:vfs_read { }";
    BadTarget = "0302", "malformed attach point",
        "The parts of an attach point depend on its kind, as in `kprobe:function` or `tracepoint:category:name`.",
        "tracepoint:sched { }", "tracepoint:sched:sched_switch { }";
    NoSuchTarget = "0303", "nothing to attach to",
        "The kernel or the program has no such function, tracepoint or event.",
        "tracepoint:sched:sched_swich { }", "tracepoint:sched:sched_switch { }";
    TooManyTargets = "0304", "too many attach points",
        "A wildcard matches more targets than `max_probes` allows.",
        "config = { max_probes = 4 } kprobe:vfs_* { }", "config = { max_probes = 4 } kprobe:vfs_read* { }";
    SharedName = "0305", "one of several functions",
        "A warning. Several functions of the kernel have this name. The kernel finds the function of an fentry or fexit by \
         its name, and takes the first; kprobe and kretprobe attach to all.", "", "";
    KernelLacks = "0401", "the kernel lacks what this needs",
        "The running kernel is too old or was built without something.", "", "";
    NoFacts = "0402", "kernel information is not available",
        "Type information or tracefs cannot be read.", "", "";
    TooLarge = "0501", "too large for BPF",
        "A value, a key or a program is larger than the kernel allows.", "", "";
    Rejected = "0502", "the kernel refused the program",
        "The kernel's verifier refused the program. The compiler tries never to let this happen: please report it.", "", "";
}

impl Code {
    /// The row of a code as written, `RT0203` or `0203`.
    pub fn find(text: &str) -> Option<Code> {
        let digits = text.trim_start_matches("RT").trim_start_matches("rt");
        Code::ALL.iter().copied().find(|c| c.name().ends_with(digits) && digits.len() == 4)
    }
}
