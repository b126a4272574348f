//! `panda rollback`: returns to the version before a completed deployment.

use clap::Args;
use serde_json::{Map, Value, json};

use super::api::{Api, ServerArgs, SwitchOptions};
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::switch::{finish_switched, switch_and_watch};
use super::types::ResultSummary;
use super::watch::{FollowArgs, WatchStart, accepted, finish, report, watch};
use super::{id_prefix, sanitize};
use crate::domain::deployment::Status;
use crate::domain::message::message;

/// Code of a deployment whose traffic AWS took back.
const ROLLED_BACK: &str = "ROLLED_BACK_AFTER_SWITCH";

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda rollback dep_k1l2m3n4o5p6q7r8s9t0 --switch --reason 'checkout answers 500'
  panda rollback dep_k1l2m3n4o5p6q7r8s9t0 --to dep_a1b2c3d4e5f6g7h8i9j0 --wait

The deployment must be the one that is live. While AWS still runs the version before it (blue), AWS takes the traffic back. Afterwards, or
with --to another version, a new deployment of that version's image starts ahead of the queue, without clone and build. With --wait the
command ends when the traffic is back, or the new deployment is ready for its switch (0), or when the rollback has failed (1).")]
pub struct RollbackArgs {
    /// Id of the live deployment, or its beginning
    id: String,
    /// Completed deployment whose version is to return; the last good one when absent
    #[arg(long, value_name = "ID")]
    to: Option<String>,
    /// Reason, for the audit log and the new deployment
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Follow the rollback
    #[arg(long)]
    wait: bool,
    /// Follow the rollback, and switch the traffic of a new deployment as soon as it is ready
    #[arg(long)]
    switch: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Requests the rollback, and follows it with `--wait` or `--switch`.
pub async fn run(args: RollbackArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::deployment(&api, &args.id).await?;
    let mut body = Map::new();
    if let Some(to) = &args.to {
        body.insert("to".to_owned(), json!(id_prefix::deployment(&api, to).await?));
    }
    body.extend(args.reason.as_ref().map(|reason| ("reason".to_owned(), json!(reason))));
    let before: ResultSummary = api.read(&api.result(&id).await?)?;
    let (started, data) = api.rollback(&id, &Value::Object(body)).await?;
    if !args.wait && !args.switch {
        accepted(&started.deployment_id, data, &args.server);
        return Ok(());
    }
    if started.how == "at_aws" {
        return at_aws(&api, &id, before.event_count, &args).await;
    }
    let id = started.deployment_id;
    let (outcome, data) = watch(&api, &id, &args.follow, args.server.json, WatchStart::default()).await?;
    if args.switch && outcome.status == Status::DeploymentReady {
        let (outcome, data) =
            switch_and_watch(&api, (&id, SwitchOptions::default()), &args.follow, args.server.json).await?;
        return finish_switched(&outcome, &data, &args.server);
    }
    finish(&outcome, &data, &args.server)
}

/// Follows a rollback at AWS: it has succeeded when the deployment has failed with the code for it.
async fn at_aws(api: &Api, id: &str, seen: u64, args: &RollbackArgs) -> Result<(), CliError> {
    let start = WatchStart { skip: seen, through_switch: true };
    let (outcome, data) = watch(api, id, &args.follow, args.server.json, start).await?;
    report(&outcome, &data, &args.server);
    if outcome.error_code.as_deref() != Some(ROLLED_BACK) {
        return Err(CliError::DeploymentFailed { id: sanitize::line(id), message: message!("cli.not_rolled_back") });
    }
    if !args.server.json {
        print(&format!("\n{}", text(&message!("cli.rolled_back"))));
    }
    Ok(())
}
