//! `panda retry`: requests another attempt of a failed deployment.

use clap::Args;

use super::api::ServerArgs;
use super::error::CliError;
use super::id_prefix;
use super::types::ResultSummary;
use super::watch::{FollowArgs, WatchStart, accepted, finish, watch};

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda retry dep_k1l2m3n4o5p6q7r8s9t0 --wait

Resumes at the step that failed: a pushed image is reused, a build starts again from the branch's newest commit. Without
--wait the command ends when the server has started the new attempt. With --wait it ends when the deployment is ready for the switch or
completed (0) or has failed again (1).")]
pub struct RetryArgs {
    /// Id of the deployment, or its beginning
    id: String,
    /// Override the freezes that hold the attempt, for this reason
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
    /// Follow the new attempt
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Requests the attempt, and follows the deployment with `--wait`.
pub async fn run(args: RetryArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::deployment(&api, &args.id).await?;
    let before: ResultSummary = api.read(&api.result(&id).await?)?;
    let data = api.retry(&id, args.override_freeze.as_deref()).await?;
    if !args.wait {
        accepted(&id, data, &args.server);
        return Ok(());
    }
    let resume = WatchStart { skip: before.event_count, ..WatchStart::default() };
    let (outcome, data) = watch(&api, &id, &args.follow, args.server.json, resume).await?;
    finish(&outcome, &data, &args.server)
}
