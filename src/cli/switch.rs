//! `panda switch`: a person's yes to green.

use clap::Args;
use serde_json::Value;

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::progress::say;
use super::types::Outcome;
use super::watch::{FollowArgs, Resume, conclude, report, watch};
use super::{clean, table};

/// `panda switch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda switch dep_k1l2m3n4o5p6q7r8s9t0 --wait

Without --wait the command ends when the server has taken the wish down. Saying it twice switches once.")]
pub struct SwitchArgs {
    /// The deployment's id
    id: String,
    /// Follow the deployment until it is completed (exit code 0) or failed (1)
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks for the switch.
pub async fn run(args: SwitchArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    if !args.wait {
        let data = api.switch(&args.id).await?;
        let text = if args.server.json { clean::json(&data) } else { table::members(&data, &["deploymentId"]) };
        say(text.trim_end());
        return Ok(());
    }
    let (outcome, data) = switch_and_watch(&api, &args.id, &args.follow, args.server.json).await?;
    report(&outcome, &data, args.server.json);
    conclude(&outcome)
}

/// Asks for the switch and shows what happens from then on.
pub async fn switch_and_watch(
    api: &Api,
    id: &str,
    follow: &FollowArgs,
    json: bool,
) -> Result<(Outcome, Value), CliError> {
    let before: Outcome = api.read(&api.result(id).await?)?;
    api.switch(id).await?;
    watch(api, id, follow, json, Resume { skip: before.event_count, through_switch: true }).await
}
