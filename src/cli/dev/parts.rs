//! `panda parts -- COMMAND`: runs a command with real dev services, which are removed when it ends.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;

use clap::Args;

use crate::cli::error::{CliError, exit};
use panda_dev_services::{DevServices, run_command, temporary_folder};

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda parts -- cargo nextest run

DATABASE_URL, PANDA_DATABASE_URL and PANDA_TEST_DATABASE_URL are set to a Postgres server in a temporary folder (not durable: for tests);
DOCKER_HOST is set to the Docker engine of this machine, or to a private one. Exits with the exit code of the command.")]
pub struct PartsArgs {
    /// Command to run, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command and returns its exit code.
pub async fn run(args: PartsArgs) -> Result<u8, CliError> {
    let folder = temporary_folder()?;
    let services = DevServices::start(folder.path(), false).await?;
    let status = run_command(&services, &args.command).await;
    let stopped = services.stop_and_remove().await;
    let status = status?;
    stopped?;
    // 128 + the signal's number for a command that a signal ended, as in shells.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::OTHER))
}
