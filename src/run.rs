//! From a bundle to output: the command line's wishes in the runtime's terms.

use crate::Failure;
use crate::cli::{self, Cli};
use rtrace_lang::bundle::Bundle;
use rtrace_runtime::launch::{Launch, launch};
use rtrace_runtime::output::Buffering;

pub fn run(bundle: &Bundle, cli: &Cli) -> Result<i32, Failure> {
    let wishes = Launch {
        command: cli.command.clone(),
        pid: cli.pid,
        output: cli.output.clone(),
        form: cli.format.0,
        quiet: cli.quiet,
        verbose: cli.verbose > 0,
        dry_run: cli.dry_run,
        no_warnings: cli.no_warnings,
        buffering: match cli.buffering {
            cli::Buffering::Line => Buffering::Line,
            cli::Buffering::Full => Buffering::Full,
            cli::Buffering::None => Buffering::None,
        },
    };
    launch(bundle, &wishes).map_err(Failure::text)
}
