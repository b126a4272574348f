//! `panda switch`: approves the switch of the traffic to green.

use clap::Args;
use serde_json::Value;

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::id_prefix;
use super::types::ResultSummary;
use super::watch::{FollowArgs, WatchStart, accepted, finish, watch};

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
    /// Follow the deployment until it is completed (exit code 0) or failed (1)
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
    let digest = args.image_digest.as_deref();
    if !args.wait {
        let data = api.switch(&id, digest).await?;
        accepted(&id, data, &args.server);
        return Ok(());
    }
    let (outcome, data) = switch_and_watch(&api, (&id, digest), &args.follow, args.server.json).await?;
    finish(&outcome, &data, &args.server)
}

/// Requests the switch, to the image with this digest if one is given, and displays the events from then on.
pub async fn switch_and_watch(
    api: &Api,
    (id, image_digest): (&str, Option<&str>),
    follow: &FollowArgs,
    json: bool,
) -> Result<(ResultSummary, Value), CliError> {
    let before: ResultSummary = api.read(&api.result(id).await?)?;
    api.switch(id, image_digest).await?;
    watch(api, id, follow, json, WatchStart { skip: before.event_count, through_switch: true }).await
}
