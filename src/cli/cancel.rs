//! `panda cancel`: requests the cancellation of a deployment.

use clap::Args;

use super::api::ServerArgs;
use super::error::CliError;
use super::types::ResultSummary;
use super::watch::{FollowArgs, WatchStart, accepted, report, watch};
use super::{id_prefix, sanitize};
use crate::domain::deployment::Status;
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda cancel dep_k1l2m3n4o5p6q7r8s9t0 --wait

Stops the build, the execution and CodeDeploy (with a rollback). Without --wait the command ends when the server has recorded the request.
With --wait it ends when the deployment is cancelled (exit code 0); a deployment whose traffic had already moved is completed (1).")]
pub struct CancelArgs {
    /// Id of the deployment, or its beginning
    id: String,
    /// Follow the deployment until it has ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Requests the cancellation, and follows the deployment with `--wait`.
pub async fn run(args: CancelArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::deployment(&api, &args.id).await?;
    let before: ResultSummary = api.read(&api.result(&id).await?)?;
    let data = api.cancel(&id).await?;
    if !args.wait {
        accepted(&id, data, &args.server);
        return Ok(());
    }
    let resume = WatchStart { skip: before.event_count, through_switch: true };
    let (outcome, data) = watch(&api, &id, &args.follow, args.server.json, resume).await?;
    report(&outcome, &data, &args.server);
    if outcome.status == Status::Failed {
        return Ok(());
    }
    let message = message!("cli.too_late_to_cancel");
    Err(CliError::DeploymentFailed { id: sanitize::line(&outcome.deployment_id), message })
}
