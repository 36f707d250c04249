//! Random `printf` formats and values, as the C library prints them.

use crate::random::Random;
use crate::{Case, Expected};
use std::ffi::CString;

const LINES: usize = 60;
const WORDS: &[&str] = &["", "a", "dd", "/etc/passwd", "a longer text, with blanks"];

/// The output of C for one conversion.
enum Argument {
    Int(i64),
    Text(&'static str),
}

fn c(format: &str, argument: &Argument) -> String {
    let format = CString::new(format).expect("no NUL");
    let mut out = vec![0u8; 4096];
    let (p, size, f) = (out.as_mut_ptr().cast(), out.len(), format.as_ptr());
    let n = match argument {
        // SAFETY: the buffer has the size that is given, and the format has one conversion, for an integer that is
        // passed in a register of 64 bits, of which narrower conversions take the low ones.
        Argument::Int(v) => unsafe { libc::snprintf(p, size, f, *v) },
        Argument::Text(text) => {
            let text = CString::new(*text).expect("no NUL");
            // SAFETY: as above, with a string that ends with NUL and lives until the call returns.
            unsafe { libc::snprintf(p, size, f, text.as_ptr()) }
        }
    };
    out.truncate(usize::try_from(n).expect("a valid format"));
    String::from_utf8(out).expect("text")
}

/// Flags, width and precision of a conversion.
fn decoration(random: &mut Random, flags: &[&str], precision: bool) -> String {
    let mut text: String = flags.iter().filter(|_| random.one_in(4)).copied().collect();
    if random.one_in(2) {
        text.push_str(&(1 + random.below(30)).to_string());
    }
    if precision && random.one_in(3) {
        text.push('.');
        if !random.one_in(5) {
            text.push_str(&random.below(30).to_string());
        }
    }
    text
}

/// A conversion as the script has it, its argument in the script, and what C prints.
fn conversion(random: &mut Random, ints: &[(String, i64)]) -> (String, String, String) {
    let (name, value) = &ints[random.below(ints.len() as u64) as usize];
    match random.below(8) {
        0 => {
            let spec = decoration(random, &["-"], true);
            let n = random.below(WORDS.len() as u64) as usize;
            let argument = if random.one_in(2) { format!("@text[{n}]") } else { format!("\"{}\"", WORDS[n]) };
            (format!("%{spec}s"), argument, c(&format!("%{spec}s"), &Argument::Text(WORDS[n])))
        }
        1 => {
            let spec = decoration(random, &["-"], false);
            let byte = i64::from(b'!') + random.below(90) as i64;
            (format!("%{spec}c"), byte.to_string(), c(&format!("%{spec}c"), &Argument::Int(byte)))
        }
        // Where C prints the null pointer as a word, others print 0.
        2 if *value != 0 => {
            let spec = decoration(random, &["-"], false);
            (format!("%{spec}p"), name.clone(), c(&format!("%{spec}p"), &Argument::Int(*value)))
        }
        _ => {
            let spec = decoration(random, &["-", "+", " ", "0", "#"], true);
            let letter = random.pick(&["d", "i", "u", "o", "x", "X"]);
            let length = random.pick(&["", "", "hh", "h", "l", "ll", "j", "z", "t"]);
            let (bits, signed) = random.pick(&[(8, true), (16, true), (32, true), (8, false), (16, false), (64, true)]);
            let cast = format!("({}int{bits}){name}", if signed { "" } else { "u" });
            let up = *value << (64 - bits);
            let cut = if signed { up >> (64 - bits) } else { (up as u64 >> (64 - bits)) as i64 };
            let printed = c(&format!("%{spec}{length}{letter}"), &Argument::Int(cut));
            (format!("%{spec}{length}{letter}"), cast, printed)
        }
    }
}

/// A script and what it must print.
pub fn script(random: &mut Random) -> Case {
    let mut text = String::from("config = { print_maps_on_exit = false }\nbegin {\n");
    for (n, word) in WORDS.iter().enumerate() {
        text.push_str(&format!("  @text[{n}] = \"{word}\";\n"));
    }
    let mut ints = Vec::new();
    for i in 0..10 {
        let v = random.interesting().max(-i64::MAX);
        text.push_str(&format!("  @v{i} = {v};\n"));
        ints.push((format!("@v{i}"), v));
    }
    text.push_str("}\nbegin {\n");
    let mut expected = Vec::new();
    for id in 0..LINES {
        let (mut format, mut arguments, mut line) = (format!("({id}, "), String::new(), format!("({id}, "));
        for _ in 0..1 + random.below(3) {
            let (spec, argument, printed) = conversion(random, &ints);
            format.push_str(&format!("{spec}|%%"));
            arguments.push_str(&format!(", {argument}"));
            line.push_str(&format!("{printed}|%"));
        }
        let statement = format!("printf(\"{format})\\n\"{arguments});");
        text.push_str(&format!("  {statement}\n"));
        expected.push(Expected { line: line + ")", what: statement });
    }
    text.push_str("}\nbegin { exit() }\n");
    let values: Vec<String> = ints.iter().map(|(name, v)| format!("{name} = {v}")).collect();
    Case { text, expected, note: values.join(", ") }
}
