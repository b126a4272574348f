//! `panda serve`: the server.

use clap::Args;

use super::error::CliError;
use super::shutdown;
use crate::app;
use crate::config::Config;

/// `panda serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  PANDA_DATABASE_URL=postgres://panda:secret@db/panda panda serve --migrate

The controller's own AWS account is found as the AWS SDK does it (AWS_PROFILE, AWS_ACCESS_KEY_ID, a role, …).
SIGTERM stops it: deployments are handed over to other replicas or resumed at the next start.")]
pub struct ServeArgs {
    #[command(flatten)]
    config: Config,
}

/// Runs until a signal comes.
pub async fn run(args: ServeArgs) -> Result<(), CliError> {
    app::run(args.config, shutdown::token()?).await?;
    Ok(())
}
