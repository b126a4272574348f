//! `panda parts -- COMMAND`: real parts for a command, gone when it ends.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;

use clap::Args;

use super::error::{CliError, exit};
use crate::sandbox::parts::{Parts, run_command, temporary_folder};

/// `panda parts`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda parts -- cargo nextest run

DATABASE_URL, PANDA_DATABASE_URL and PANDA_TEST_DATABASE_URL name a Postgres server in a temporary folder (not durable: for tests);
DOCKER_HOST names the engine that answers on this machine, or a private one. The exit code is the command's.")]
pub struct PartsArgs {
    /// The command, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command; its exit code is the result.
pub async fn run(args: PartsArgs) -> Result<u8, CliError> {
    let folder = temporary_folder()?;
    let parts = Parts::start(folder.path(), false).await?;
    let status = run_command(&parts, &args.command).await;
    let stopped = parts.stop_and_remove().await;
    let status = status?;
    stopped?;
    // As shells have it: 128 and the signal's number for a command that a signal ended.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::OTHER))
}
