//! Runs random scripts with rtrace and compares what they print with what they must print:
//! `properties arithmetic|printf [--seed N] [--scripts N]`. It loads programs, so it is for guests; `scripts/test`
//! runs it there, with a seed that stays the same. Script number `n` has the seed `N + n`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod arithmetic;
mod formats;
mod model;
mod random;

use random::Random;
use std::collections::HashMap;
use std::process::{Command, ExitCode};

/// A script and what it must print.
pub struct Case {
    pub text: String,
    pub expected: Vec<Expected>,
    /// The values of the operands, for messages.
    pub note: String,
}

/// A line that must be printed, `(NUMBER, …)`, and by what.
pub struct Expected {
    pub line: String,
    pub what: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, otherwise: u64| match arguments.iter().position(|a| a == name) {
        Some(at) => arguments.get(at + 1).and_then(|n| n.parse().ok()).expect("a number"),
        None => otherwise,
    };
    let (seed, scripts) = (option("--seed", 1), option("--scripts", 1));
    let make = match arguments.first().map(String::as_str) {
        Some("arithmetic") => arithmetic::script,
        Some("printf") => formats::script,
        _ => panic!("properties arithmetic|printf [--seed N] [--scripts N]"),
    };
    let (mut checked, mut wrong) = (0, 0);
    for seed in seed..seed + scripts {
        let case = make(&mut Random::new(seed));
        checked += case.expected.len();
        wrong += run(&case, seed);
    }
    println!("{checked} checked, {wrong} wrong");
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a script; tells how many lines were not as expected.
fn run(case: &Case, seed: u64) -> usize {
    let file = format!("seed-{seed}.rt");
    std::fs::write(&file, &case.text).expect("a writable folder");
    let output = Command::new("rtrace").args(["-q", &file]).output().expect("rtrace");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        println!("seed {seed}: {}\n{}\n{err}", output.status, case.text);
        return case.expected.len();
    }
    let number = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
    let printed: HashMap<String, &str> = out.lines().map(|l| (number(l), l)).collect();
    let mut wrong = 0;
    for expected in &case.expected {
        let found = printed.get(&number(&expected.line)).copied().unwrap_or("nothing");
        if found != expected.line {
            println!("seed {seed}: {}\n  expected {}\n  printed  {found}", expected.what, expected.line);
            wrong += 1;
        }
    }
    if wrong > 0 {
        println!("  where {}\n{err}", case.note);
    }
    wrong
}
