//! The object as the loader sees it: aya-obj must read it and find the programs, maps and line
//! information that the bundle promises.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use aya_obj::Object;
use rtrace_codegen::Options;
use rtrace_lang::bundle::{AttachMode, Bundle, PLACED_SCRATCH_SYMBOL, PROBES_SYMBOL, SCRATCH_SYMBOL};
use rtrace_lang::kernel::Version;
use rtrace_test_support::golden;

fn parse(bundle: &Bundle) -> Object {
    Object::parse(&bundle.object).expect("an object that aya reads")
}

#[test]
fn every_program_and_map_of_the_bundle_is_in_the_object() {
    let script = "kprobe:vfs_read { @[comm] = count(); printf(\"%s\\n\", str(arg1)); } BEGIN { @a = hist(5); }";
    let bundle = support::compile(script).bundle;
    let object = parse(&bundle);
    for program in &bundle.programs {
        assert!(object.programs.contains_key(&program.symbol), "{} is missing", program.symbol);
    }
    for map in &bundle.map_objects {
        let found = object.maps.get(&map.symbol).unwrap_or_else(|| panic!("{} is missing", map.symbol));
        assert_eq!(
            (found.map_type(), found.key_size(), found.value_size(), found.max_entries()),
            (map.map_type, map.key_size, map.value_size, map.max_entries),
            "{}",
            map.symbol
        );
    }
    let shared = object.maps.get(".bss").expect("the shared memory");
    assert_eq!(shared.value_size(), bundle.globals.size);
}

#[test]
fn instructions_have_lines() {
    let bundle = support::compile("BEGIN {\n  printf(\"%d\\n\", pid);\n  @ = count();\n}").bundle;
    let object = parse(&bundle);
    let ext = object.btf_ext.as_ref().expect("line information");
    assert!(!format!("{ext:?}").is_empty());
    assert!(object.btf.is_some());
}

#[test]
fn scratch_memory_is_there_only_when_used() {
    let plain = support::compile("kprobe:vfs_read { printf(\"%d %s\\n\", pid, comm); }").bundle;
    assert!(plain.map_objects.iter().all(|m| m.symbol != SCRATCH_SYMBOL));
    let strings =
        support::compile("kprobe:vfs_read { print(str(arg1)); } kprobe:vfs_write { print(str(arg1)); }").bundle;
    let scratch = strings.map_objects.iter().find(|m| m.symbol == SCRATCH_SYMBOL).expect("scratch memory");
    assert_eq!(scratch.max_entries, 2, "each program has its own");
}

#[test]
fn scratch_memory_has_a_place_where_the_cpus_are_counted() {
    let script = "kprobe:vfs_read { @[str(arg1, 1024)] = count(); } kprobe:vfs_write { @s[kstack] = count(); }";
    let compile = |cpus| {
        let options = Options { cpus: Some(cpus), ..support::modern() };
        support::try_compile_for(script, &options).expect("a program").bundle
    };
    let size = |bundle: &Bundle| {
        let placed = bundle.map_objects.iter().find(|m| m.symbol == PLACED_SCRATCH_SYMBOL)?;
        assert_eq!(placed.max_entries, 1);
        assert_eq!(parse(bundle).maps.get(PLACED_SCRATCH_SYMBOL)?.value_size(), placed.value_size);
        assert!(bundle.map_objects.iter().all(|m| m.symbol != SCRATCH_SYMBOL));
        Some(placed.value_size)
    };
    // Two programs that take 1 KiB each; a copy for every number that the CPU's can be masked to.
    assert_eq!(size(&compile(1)), Some(2 << 10));
    assert_eq!(size(&compile(3)), Some(8 << 10));
    // Too much for one value of a map.
    let many = compile(1 << 13);
    assert_eq!(size(&many), None);
    assert!(many.map_objects.iter().any(|m| m.symbol == SCRATCH_SYMBOL));
}

#[test]
fn the_same_script_gives_the_same_bytes() {
    let script = "kprobe:vfs_read { @[comm, kstack] = hist(arg2); printf(\"%s\\n\", str(arg1)); }";
    assert_eq!(support::compile(script).bundle.to_bytes(), support::compile(script).bundle.to_bytes());
}

/// Whatever the checker accepts must compile: its own tests' scripts do.
#[test]
fn scripts_that_check_compile() {
    let mut failed = Vec::new();
    for path in golden::scripts("typed") {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        for (title, script) in golden::sections(&text) {
            match support::try_compile(script) {
                Ok(output) => {
                    parse(&output.bundle);
                }
                // Not here yet.
                Err(text) if text.contains("this clock") => {}
                // Some need positional parameters or another kernel: what the checker refuses is its own test.
                Err(text) if !text.contains("RT05") && !text.contains("RT0103") => {}
                Err(text) => failed.push(format!("{}: {title}\n{text}", path.display())),
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn bodies_of_loops_are_linked_to_their_programs() {
    let script = "kprobe:vfs_read { @[pid] = 1; for ($kv : @) { for ($i : 0..$kv.1) { @n = len(@); } } }";
    let bundle = support::compile(script).bundle;
    let mut object = parse(&bundle);
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).expect("calls that can be linked");
    let program = object.programs.values().next().unwrap();
    let function = object.functions.get(&program.function_key()).unwrap();
    // The program, the bodies of both loops, and the function that counts; the kernel asks for the types of all.
    assert_eq!(function.func_info.func_info.len(), 4);
    let references = function.instructions.iter().filter(|i| i.code == 0x18 && i.src_reg() == 4);
    assert_eq!(references.count(), 3);
}

#[test]
fn what_shares_an_event_finds_its_function_by_address() {
    let functions = "tcp_*,kprobe:vfs_* { @[func] = count(); }";
    // The instruction pointer of x86-64 and a look-up; or, in a copy for one function, the number that is patched in, or
    // (Linux 5.15) the cookie.
    for (version, own) in [(Version(5, 10), None), (Version(5, 15), Some("call get_attach_cookie"))] {
        let output = support::compile_on(version, &format!("kprobe:{functions}"));
        assert_eq!(output.bundle.programs.first().map(|p| p.attach_mode), Some(AttachMode::Event));
        assert!(parse(&output.bundle).maps.contains_key(PROBES_SYMBOL));
        let code = output.bpf.unwrap();
        for part in ["0x7274726163654944", "(r1 +128)", "= rt_probes"].into_iter().chain(own) {
            assert_eq!(code.matches(part).count(), 1, "{part} in\n{code}");
        }
    }
    let output = support::compile_on(Version(6, 12), &format!("kprobe:{functions}"));
    assert_eq!(output.bundle.programs.first().map(|p| p.attach_mode), Some(AttachMode::Link));
    assert!(!output.bpf.unwrap().contains("rt_probes"));
}

#[test]
fn loops_that_the_kernel_cannot_run_are_errors_with_its_version() {
    let old = rtrace_codegen::Options::default();
    for (script, version) in [
        ("BEGIN { @[1] = 1; for ($kv : @) { print($kv); } }", "Linux 5.13"),
        ("BEGIN { for ($i : 0..100000) { @ = $i; } }", "Linux 5.17"),
    ] {
        let text = support::try_compile_for(script, &old).expect_err("an error");
        assert!(text.contains("RT0401") && text.contains(version), "{text}");
    }
    let bundle = support::try_compile_for("kprobe:vfs_read { for ($i : 0..arg2) { @ = $i; } }", &old).unwrap().bundle;
    assert_eq!(bundle.loops.iter().map(|l| (l.range, l.rounds)).collect::<Vec<_>>(), [(true, 1024)]);
}

#[test]
fn what_call_each_other_fit_the_stack_together() {
    // Many variables on both sides of a loop in a function, in loops.
    let shared: String = (0..14).map(|i| format!("$a{i} = $n + {i}; ")).collect();
    let used: String = (0..14).map(|i| format!("$a{i} += $i * $a{}; ", (i + 1) % 14)).collect();
    let body = format!("{shared} for ($i : 0..$n) {{ {used} @seen[$a0, $a1, $a2] = count(); }} return $a0 + $a7;");
    let outer = body.replace("@seen", "@more").replace("$a0 += $i", "$a0 += inner($i)");
    let main =
        body.replace("$n", "arg2").replace("$a0 += $i", "$a0 += outer($i)").replace("return $a0 + $a7", "print($a0)");
    let script = format!(
        "fn inner($n: int64) : int64 {{ {body} }} fn outer($n: int64) : int64 {{ {outer} }} kprobe:vfs_read {{ {main} }}"
    );
    support::compile(&script);
}

#[test]
fn what_is_nested_too_deeply_is_an_error() {
    let function = |name: char, inner: &str| {
        format!("fn {name}($n: int64) : int64 {{ $s = 0; for ($i : 0..$n) {{ $s += {inner} }} return $s; }} ")
    };
    let functions = [function('a', "$i"), function('b', "a($i)"), function('c', "b($i)"), function('d', "c($i)")];
    let script = functions.concat() + "kprobe:vfs_read { for ($i : 0..arg2) { print(d($i)) } }";
    let error = support::try_compile(&script).unwrap_err();
    assert!(error.contains("functions and loops are nested too deeply: 10 levels, but the kernel allows 8"), "{error}");
}

#[test]
fn what_loops_share_has_a_limit() {
    let set: String = (0..30).map(|i| format!("$v{i} = {i}; ")).collect();
    let add: String = (0..30).map(|i| format!("$v{i} += $kv.1; ")).collect();
    let read: String = (0..30).map(|i| format!("@m{i} = $v{i}; ")).collect();
    let script = format!("BEGIN {{ @[1] = 1; {set} for ($kv : @) {{ {add} }} {read} }}");
    let text = support::try_compile(&script).expect_err("an error");
    assert!(text.contains("RT0501"), "{text}");
}

#[test]
fn values_too_large_for_the_kernel_are_an_error_with_a_place() {
    let script = "config = { max_strlen = 16384 } kprobe:vfs_read { $a = str(arg0); $b = str(arg1); $c = str(arg2); print(($a, $b, $c)); }";
    let text = support::try_compile(script).expect_err("an error");
    assert!(text.contains("RT0501") && text.contains("script.rt:1:"), "{text}");
}

#[test]
fn deep_expressions_stay_within_the_stack() {
    let keys: Vec<String> = (0..12).map(|i| format!("comm, {i}, arg{}", i % 5)).collect();
    let body: String =
        keys.iter().enumerate().map(|(i, k)| format!("@m{i}[{k}] = count(); @n{i} = (int64)@m{i}[{k}];")).collect();
    support::compile(&format!("kprobe:vfs_read {{ {body} }}"));
}
