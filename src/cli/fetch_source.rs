//! `panda fetch-source`: the process in which a server fetches a repository. Not for people.

use clap::Args;

use super::CliError;
use crate::clients::git::{ProcessLimits, child};

/// The limits, which hold before anything is read.
#[derive(Args, Debug)]
pub struct FetchSourceArgs {
    #[command(flatten)]
    limits: ProcessLimits,
}

/// Serves the request on standard input. Needs no runtime, no log and no settings.
pub fn run(args: &FetchSourceArgs) -> Result<(), CliError> {
    child::run(&args.limits).map_err(|source| CliError::File { path: "/dev/stdout".into(), source })
}
