//! `panda switch`: approves the switch of the traffic to green.

use clap::Args;
use serde_json::Value;

use super::api::{Api, ServerArgs, SwitchOptions};
use super::error::CliError;
use super::types::ResultSummary;
use super::watch::{FollowArgs, WatchStart, accepted, finish, report, watch};
use super::{id_prefix, sanitize};
use crate::domain::deployment::Status;
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda switch dep_k1l2m3n4o5p6q7r8s9t0 --wait

Without --wait the command ends when the server has recorded the request. Repeating it has no further effect.")]
pub struct SwitchArgs {
    /// Id of the deployment, or its beginning
    id: String,
    /// Switch only if the image that is ready has this digest (sha256:…)
    #[arg(long, value_name = "DIGEST")]
    image_digest: Option<String>,
    /// Approve only this pause of the rollout (pauseId of `panda result`), not one that it has reached since
    #[arg(long, value_name = "PAUSE")]
    pause: Option<String>,
    /// Override the freeze that holds the switch, for this reason
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
    /// Follow the deployment until it is completed (exit code 0), or has failed, was not switched or awaits the approval of its next part (1)
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Requests the switch, and follows the deployment with `--wait`.
pub async fn run(args: SwitchArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::deployment(&api, &args.id).await?;
    let terms = SwitchOptions {
        image_digest: args.image_digest.as_deref(),
        pause: args.pause.as_deref(),
        freeze_override: args.override_freeze.as_deref(),
    };
    if !args.wait {
        let data = api.switch(&id, terms).await?;
        accepted(&id, data, &args.server);
        return Ok(());
    }
    let (outcome, data) = switch_and_watch(&api, (&id, terms), &args.follow, args.server.json).await?;
    finish_switched(&outcome, &data, &args.server)
}

/// Ends a command that requested a switch: a deployment that is still ready was refused it, or has reached the next pause of its rollout.
pub fn finish_switched(outcome: &ResultSummary, data: &Value, server: &ServerArgs) -> Result<(), CliError> {
    if outcome.status != Status::DeploymentReady {
        return finish(outcome, data, server);
    }
    report(outcome, data, server);
    let id = sanitize::line(&outcome.deployment_id);
    let message = match outcome.green_weight {
        Some(percent) => message!("cli.next_pause", percent = percent.to_string()),
        None => message!("cli.not_switched"),
    };
    Err(CliError::DeploymentFailed { id, message })
}

/// Requests the switch on these terms, and displays the events from then on.
pub async fn switch_and_watch(
    api: &Api,
    (id, terms): (&str, SwitchOptions<'_>),
    follow: &FollowArgs,
    json: bool,
) -> Result<(ResultSummary, Value), CliError> {
    let before: ResultSummary = api.read(&api.result(id).await?)?;
    api.switch(id, terms).await?;
    watch(api, id, follow, json, WatchStart { skip: before.event_count, through_switch: true }).await
}
