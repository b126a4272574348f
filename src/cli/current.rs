//! `panda current`: the newest deployment that is not finished.

use clap::Args;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::{clean, table};

/// `panda current`.
#[derive(Args, Debug)]
#[command(after_help = "Exits with 4 when every deployment is finished.")]
pub struct CurrentArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows it.
pub async fn run(args: CurrentArgs) -> Result<(), CliError> {
    let data = args.server.api()?.current().await?;
    let text = if args.server.json { clean::json(&data) } else { table::members(&data, &["deploymentId"]) };
    say(text.trim_end());
    Ok(())
}
