//! Compiles a script of so many probes against the recorded kernel and prints how long each stage took:
//! `cargo run --release -p rtrace-codegen --example compile_time -- 1000`. With `--script` before the number it
//! prints the script instead.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a development tool")]

#[path = "../tests/support/mod.rs"]
mod support;

use rtrace_lang::config::Options;
use rtrace_lang::diag::render;
use rtrace_lang::{driver, source::SourceMap};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let probes: usize = arguments.last().and_then(|n| n.parse().ok()).expect("the number of probes");
    let script = support::mixed_script(probes);
    if arguments.len() > 1 {
        print!("{script}");
        return;
    }
    let mut sources = SourceMap::default();
    sources.add("script.rt", &script);
    let kernel = support::kernel();
    let mut options = Options::default();
    let start = Instant::now();
    let ast = driver::parse(&sources, 0).unwrap_or_else(|d| panic!("{}", render(&d, &sources, false)));
    let parsed = Instant::now();
    let typed = driver::analyse(ast, &mut options, &sources, kernel.facts());
    let typed = typed.unwrap_or_else(|d| panic!("{}", render(&d, &sources, false)));
    let analysed = Instant::now();
    let output = rtrace_codegen::compile(&typed, &sources, &support::modern());
    let output = output.unwrap_or_else(|d| panic!("{}", render(&d, &sources, false)));
    let end = Instant::now();
    let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1000.0;
    println!(
        "{probes} probes: parse {:.1} ms, check {:.1} ms, generate code {:.1} ms, object of {} KB",
        ms(start, parsed),
        ms(parsed, analysed),
        ms(analysed, end),
        output.bundle.object.len() / 1024
    );
}
