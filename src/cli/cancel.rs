//! `panda cancel`: a person's no.

use clap::Args;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::types::Outcome;
use super::watch::{FollowArgs, Resume, report, watch};
use super::{clean, table};
use crate::domain::deployment::Status;

/// `panda cancel`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda cancel dep_k1l2m3n4o5p6q7r8s9t0 --wait

Stops the build, the execution and CodeDeploy (with a rollback). Without --wait the command ends when the server has taken the wish down.
With --wait it ends when the deployment is cancelled (exit code 0); a deployment whose traffic had moved already is completed (1).")]
pub struct CancelArgs {
    /// The deployment's id
    id: String,
    /// Follow the deployment until it has ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks for the end.
pub async fn run(args: CancelArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let before: Outcome = api.read(&api.result(&args.id).await?)?;
    let data = api.cancel(&args.id).await?;
    if !args.wait {
        let text = if args.server.json { clean::json(&data) } else { table::members(&data, &["deploymentId"]) };
        say(text.trim_end());
        return Ok(());
    }
    let resume = Resume { skip: before.event_count, through_switch: true };
    let (outcome, data) = watch(&api, &args.id, &args.follow, args.server.json, resume).await?;
    report(&outcome, &data, args.server.json);
    if outcome.status == Status::Failed {
        return Ok(());
    }
    let message = "it could not be cancelled any more: the traffic had moved to green".to_owned();
    Err(CliError::DeploymentFailed { id: clean::line(&outcome.deployment_id), message })
}
