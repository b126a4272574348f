//! `panda watch`: displays a deployment's events as they happen.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::lang::text;
use super::progress::{display, print};
use super::stream::{Follow, follow};
use super::types::ResultSummary;
use super::{lang, result, sanitize};
use crate::domain::deployment::Status;
use crate::domain::message::{Message, message};

/// Options of the commands that follow events.
#[derive(Args, Clone, Debug)]
pub struct FollowArgs {
    /// Seconds to retry when the server becomes unreachable
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub give_up_after: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda watch dep_k1l2m3n4o5p6q7r8s9t0
  panda watch dep_k1l2m3n4o5p6q7r8s9t0 --json | jq -r .data.message

Shows all events from the first on and ends when the deployment is ready for the switch, completed (exit code 0) or failed (1).
Reconnects when the server restarts. With --json each line is {\"id\", \"event\", \"data\"}; the last line is the result, with
the event \"result\".")]
pub struct WatchArgs {
    /// Id of the deployment
    id: String,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Follows the deployment to the end.
pub async fn run(args: WatchArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (outcome, data) = watch(&api, &args.id, &args.follow, args.server.json, WatchStart::default()).await?;
    report(&outcome, &data, args.server.json);
    conclude(&outcome)
}

/// The point at which watching starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchStart {
    /// Number of events to skip.
    pub skip: u64,
    /// True to continue at `DEPLOYMENT_READY`, because a switch was requested.
    pub through_switch: bool,
}

/// Displays the events and returns the result, which the caller passes to [`report`].
pub async fn watch(
    api: &Api,
    id: &str,
    args: &FollowArgs,
    json: bool,
    resume: WatchStart,
) -> Result<(ResultSummary, Value), CliError> {
    let lang = lang::lang();
    let what = Follow {
        id,
        lang: lang.as_str(),
        through_switch: resume.through_switch,
        skip: resume.skip,
        give_up_after: Duration::from_secs(args.give_up_after),
    };
    let mut display = display(json, lang);
    // Returning drops the live display, before anything else is printed.
    follow(api, &what, display.as_mut()).await
}

/// Prints the result, and the command for the switch if the deployment is ready.
pub fn report(outcome: &ResultSummary, data: &Value, json: bool) {
    if json {
        print(&sanitize::json(&json!({"id": null, "event": "result", "data": data})));
        return;
    }
    print(&format!("\n{}", result::shown(data, false).trim_end()));
    if outcome.status == Status::DeploymentReady {
        let id = sanitize::line(&outcome.deployment_id);
        print(&format!("\n{}", text(&message!("cli.ready", id))));
    }
}

/// Turns a failed deployment into an error of the command.
pub fn conclude(outcome: &ResultSummary) -> Result<(), CliError> {
    if outcome.status != Status::Failed {
        return Ok(());
    }
    let message = outcome.error_message.as_deref().map(|message| Message::verbatim(sanitize::text(message)));
    let message = message.unwrap_or_else(|| message!("cli.no_reason"));
    Err(CliError::DeploymentFailed { id: sanitize::line(&outcome.deployment_id), message })
}
