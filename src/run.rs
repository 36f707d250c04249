//! From a bundle to output: the command line's wishes in the runtime's terms.

use crate::Failure;
use crate::cli::{Cli, Format};
use rtrace_lang::bundle::Bundle;
use rtrace_runtime::launch::{Launch, launch};

pub fn run(bundle: &Bundle, cli: &Cli) -> Result<i32, Failure> {
    let wishes = Launch {
        command: cli.command.clone(),
        pid: cli.pid,
        output: cli.output.clone(),
        json: cli.format == Format::Json,
        quiet: cli.quiet,
        verbose: cli.verbose > 0,
        dry_run: cli.dry_run,
        no_warnings: cli.no_warnings,
    };
    launch(bundle, &wishes).map_err(Failure)
}
