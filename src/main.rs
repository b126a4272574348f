//! The `panda` command.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use panda::cli::{self, Cli, CliError, Command, exit};

/// A third of the time of following thousands of executions was in the allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            cli::warn(&format!("panda: {}", words(&error)));
            ExitCode::from(error.downcast_ref::<CliError>().map_or(exit::OTHER, CliError::exit_code))
        }
    }
}

/// The error with its causes, but for those that it has told already: most do.
fn words(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .reduce(|told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
        .unwrap_or_default()
}

fn start(cli: Cli) -> anyhow::Result<u8> {
    // Before anything else: it limits itself, and threads of a runtime would count.
    if let Command::FetchSource(args) = &cli.command {
        cli::fetch_source(args)?;
        return Ok(0);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot start")?;
    let code = runtime.block_on(cli::run(cli));
    // A read of standard input that nobody waits for any more would hold the process.
    runtime.shutdown_background();
    Ok(code?)
}
