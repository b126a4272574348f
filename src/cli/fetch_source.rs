//! `panda fetch-source`: the child process in which a server fetches a repository. Not for manual use.

use clap::Args;

use super::CliError;
use crate::clients::git::{ProcessLimits, child};

/// Limits of the process, set before it reads anything.
#[derive(Args, Debug)]
pub struct FetchSourceArgs {
    #[command(flatten)]
    limits: ProcessLimits,
}

/// Serves the request on standard input. Needs no runtime, log or configuration.
pub fn run(args: &FetchSourceArgs) -> Result<(), CliError> {
    child::run(&args.limits).map_err(|source| CliError::File { path: "/dev/stdout".into(), source })
}
