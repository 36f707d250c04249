//! When the kernel refuses a program: finding, in the verifier's log, what it complains about, which
//! instruction it means and which place of the script that came from; and a word of advice where the
//! complaint has a known cause.

use super::object::{Code, LoadedBtf};
use rtrace_core::source::SourceMap;

/// A program that the kernel's verifier refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the kernel refuses program {program}: {message}")]
pub struct VerifierError {
    pub program: String,
    /// Index of the instruction refused, in 8-byte slots.
    pub instruction: Option<u32>,
    /// The message of the verifier.
    pub message: String,
    /// Position in the bundle's sources.
    pub position: Option<u32>,
    /// The usual fix.
    pub advice: Option<&'static str>,
    /// The whole log; long.
    pub log: String,
}

impl VerifierError {
    pub(super) fn new(program: &str, log: String, code: &Code, btf: Option<&LoadedBtf>, sources: &SourceMap) -> Self {
        let (instruction, message) = complaint(&log);
        let position = instruction.and_then(|at| position(at, code, btf, sources));
        VerifierError { program: program.into(), instruction, advice: advice(&message), message, position, log }
    }
}

/// The last instruction that the log shows and what it says after that. Kernels before 6.4 do not name the
/// source file in the log, so only the instruction's index is read from it.
fn complaint(log: &str) -> (Option<u32>, String) {
    let lines: Vec<&str> = log.trim_end_matches('\0').lines().map(str::trim_end).collect();
    let last = lines.iter().rposition(|line| instruction_of(line).is_some());
    let instruction = last.and_then(|at| lines.get(at)).and_then(|line| instruction_of(line));
    let tail = lines.get(last.map_or(0, |at| at + 1)..).unwrap_or_default();
    let said: Vec<&str> = tail.iter().copied().filter(|line| !is_noise(line)).collect();
    // The reason is at the end; a long tail is state, not reason.
    let message = said.iter().skip(said.len().saturating_sub(4)).copied().collect::<Vec<_>>().join("; ");
    let message = if message.is_empty() { "no reason given".to_owned() } else { message };
    (instruction, message)
}

/// `12: (85) call …` gives 12.
fn instruction_of(line: &str) -> Option<u32> {
    let (number, rest) = line.trim_start().split_once(':')?;
    rest.trim_start().starts_with('(').then(|| number.parse().ok())?
}

fn is_noise(line: &str) -> bool {
    let line = line.trim_start();
    let state = |prefix: &str| {
        line.strip_prefix(prefix)
            .is_some_and(|rest| rest.split('=').next().is_some_and(|n| n.len() <= 4) && rest.contains('='))
    };
    line.is_empty()
        || line.starts_with(';')
        || [
            "processed ",
            "verification time",
            "stack depth",
            "from ",
            "mark_precise",
            "parent ",
            "last_idx",
            "regs=",
            "Func#",
        ]
        .iter()
        .any(|p| line.starts_with(p))
        || state("R")
}

/// The place whose line information covers an instruction.
fn position(instruction: u32, code: &Code, btf: Option<&LoadedBtf>, sources: &SourceMap) -> Option<u32> {
    let covers = code.line_info.iter().filter(|[at, ..]| *at <= instruction);
    let [_, file, _, place] = covers.max_by_key(|[at, ..]| *at)?;
    let name = btf.and_then(|b| b.string(*file)).unwrap_or_default();
    let same = |f: &rtrace_core::source::SourceFile| f.name == name || name.ends_with(&format!("/{}", f.name));
    let file = sources.files().iter().position(same).unwrap_or(0);
    sources.position(file, place >> 10, place & 0x3ff)
}

/// Parts of complaints and what to do about them.
const ADVICE: &[(&str, &str)] = &[
    ("bpf_override_return", "the kernel was built without CONFIG_BPF_KPROBE_OVERRIDE: no function can be overridden"),
    // `enum lockdown_reason` of linux/security.h: what is forbidden is as if it were not there.
    (
        "bpf_probe_read",
        "programs cannot read kernel memory: the kernel is locked down in confidentiality mode \
        (/sys/kernel/security/lockdown), where probes can only count and identify processes",
    ),
    (
        "bpf_probe_write_user",
        "the kernel is locked down (/sys/kernel/security/lockdown): programs may not write to processes",
    ),
    ("unknown func", "this kernel does not have the helper: use a newer kernel or get the value in another way"),
    (
        "invalid func unknown",
        "this kernel does not have the helper: use a newer kernel or get the value in another way",
    ),
    ("cannot use helper", "this probe type may not call the helper: try fentry, a tracepoint or another probe type"),
    ("cannot call helper", "a kernel function is called where it is not allowed: try another probe type"),
    (
        "too large",
        "the program is too long for the verifier: split the probe, or shorten its loops and unrolled blocks",
    ),
    ("infinite loop", "the verifier cannot see that the loop ends: give it a fixed limit"),
    ("back-edge", "this kernel does not allow loops: use unroll"),
    ("combined stack size", "too much data on the stack: use fewer or smaller variables"),
    ("GPL-restricted", "the object's licence must be GPL-compatible"),
    ("max struct btf_id", "the kernel's BTF does not fit the program: build the bundle on this kernel"),
];

fn advice(message: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(part, _)| message.contains(part)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_for_a_helper_before_that_for_all() {
        let of = |helper: &str| advice(&format!("program of this type cannot use helper {helper}")).unwrap();
        assert!(of("bpf_override_return#58").contains("CONFIG_BPF_KPROBE_OVERRIDE"));
        assert!(of("bpf_get_attach_cookie#174").contains("this probe type"));
    }

    const OLD: &str = "\
; $x = @m[pid];
6: (85) call bpf_map_lookup_elem#1
; @y = *$x;
7: (79) r0 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 8 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    const NEW: &str = "\
0: R1=ctx() R10=fp0
; @ script.rt:4
0: (b7) r1 = 1                        ; R1_w=1
1: (85) call bpf_get_attach_cookie#174
program of this type cannot use helper bpf_get_attach_cookie#174
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn the_complaint_is_what_follows_the_last_instruction() {
        assert_eq!(complaint(OLD), (Some(7), "R0 invalid mem access 'map_value_or_null'".into()));
        let (at, message) = complaint(NEW);
        assert_eq!(at, Some(1));
        assert!(message.starts_with("program of this type"), "{message}");
        assert!(advice(&message).is_some());
        for words in ["program of this type cannot use helper", "unknown func"] {
            let read = advice(&format!("{words} bpf_probe_read_kernel#113"));
            assert!(read.is_some_and(|a| a.contains("locked down in confidentiality mode")), "{read:?}");
        }
    }

    #[test]
    fn odd_logs_give_no_instruction() {
        assert_eq!(complaint(""), (None, "no reason given".into()));
        assert_eq!(complaint("arg#0 reference type('UNKNOWN ') size cannot be determined: -22\n").0, None);
        assert_eq!(complaint("9999999999: (00)\n\u{fffd}\n").0, None);
    }

    #[test]
    fn the_instruction_leads_to_the_script() {
        let mut sources = SourceMap::default();
        sources.add("a.rt", "BEGIN {\n  $x = 1;\n  @y = $x;\n}\n");
        let code = Code {
            instructions: vec![0; 4],
            func_info: Vec::new(),
            line_info: vec![[0, 0, 0, 2 << 10 | 3], [2, 0, 0, 3 << 10 | 8]],
        };
        assert_eq!(position(1, &code, None, &sources), sources.position(0, 2, 3));
        assert_eq!(position(3, &code, None, &sources), sources.position(0, 3, 8));
    }
}
