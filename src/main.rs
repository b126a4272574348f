//! Entry point of the `panda` command.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use panda::cli::{self, Cli, CliError, Command, exit};
use panda::domain::text::chain;

/// With the system allocator, a replica that followed thousands of executions spent a third of its time in the allocator
/// (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let known = error.downcast_ref::<CliError>();
            if !matches!(known, Some(CliError::Shown(_))) {
                cli::warn(&format!("panda: {}", chain(error.as_ref())));
            }
            ExitCode::from(known.map_or(exit::OTHER, CliError::exit_code))
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<u8> {
    // Must run before the runtime starts: the command limits its own process, and the runtime's threads would count.
    if let Command::FetchSource(args) = &cli.command {
        cli::fetch_source(args)?;
        return Ok(0);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot start")?;
    let code = runtime.block_on(cli::run(cli));
    // Do not wait for blocking tasks: an abandoned read of standard input would keep the process alive.
    runtime.shutdown_background();
    Ok(code?)
}
