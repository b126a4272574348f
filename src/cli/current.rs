//! `panda current`: shows the newest unfinished deployment.

use clap::Args;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::print;
use super::{sanitize, table};

#[derive(Args, Debug)]
#[command(after_help = "Exits with code 4 when all deployments are finished.")]
pub struct CurrentArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: CurrentArgs) -> Result<(), CliError> {
    let data = args.server.api()?.current().await?;
    let text = if args.server.json { sanitize::json(&data) } else { table::members(&data, &["deploymentId"]) };
    print(text.trim_end());
    Ok(())
}
