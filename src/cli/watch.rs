//! `panda watch`: displays a deployment's events as they happen.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::api_words::as_commands;
use super::error::CliError;
use super::lang::text;
use super::next_command::next_command;
use super::progress::{display, print, warn};
use super::stream::{Follow, follow};
use super::types::ResultSummary;
use super::{id_prefix, lang, result, sanitize, table};
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
    /// Id of the deployment, or its beginning
    id: String,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Follows the deployment to the end.
pub async fn run(args: WatchArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::deployment(&api, &args.id).await?;
    let (outcome, data) = watch(&api, &id, &args.follow, args.server.json, WatchStart::default()).await?;
    finish(&outcome, &data, &args.server)
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
    let followed = follow(api, &what, display.as_mut()).await;
    if followed.is_err() {
        display.release();
    }
    followed
}

/// Prints the answer to a command for a deployment that is not followed, and the command that follows it. The answer's own message names a call of the API.
pub fn accepted(id: &str, mut data: Value, server: &ServerArgs) {
    if server.json {
        return print(&sanitize::json(&data));
    }
    if let Some(members) = data.as_object_mut() {
        members.remove("message");
    }
    let command = next_command(&format!("watch {}", sanitize::line(id)), server);
    print(&format!("{}\n{}", table::members(&data, &["deploymentId"]), text(&message!("cli.follow_next", command))));
}

/// Ends a command that followed a deployment: shows the cause of a failure first and once, then the result and the command that is next.
pub fn finish(outcome: &ResultSummary, data: &Value, server: &ServerArgs) -> Result<(), CliError> {
    let failed = match conclude(outcome) {
        Err(error) if !server.json => error,
        ended => {
            report(outcome, data, server);
            return ended;
        }
    };
    warn(&format!("\npanda: {failed}"));
    let mut rest = data.clone();
    if let Some(members) = rest.as_object_mut() {
        members.retain(|name, _| !["errorCode", "errorMessage"].contains(&name.as_str()));
    }
    report(outcome, &rest, server);
    let command = next_command(&format!("retry {} --wait", sanitize::line(&outcome.deployment_id)), server);
    print(&format!("\n{}", text(&message!("cli.retry_next", command))));
    Err(CliError::Shown(Box::new(failed)))
}

/// Prints the result, and the command for the switch if the deployment is ready.
pub fn report(outcome: &ResultSummary, data: &Value, server: &ServerArgs) {
    if server.json {
        print(&sanitize::json(&json!({"id": null, "event": "result", "data": data})));
        return;
    }
    print(&format!("\n{}", result::shown(data, false).trim_end()));
    if outcome.status == Status::DeploymentReady {
        let command = next_command(&format!("switch {} --wait", sanitize::line(&outcome.deployment_id)), server);
        print(&format!("\n{}", text(&message!("cli.ready", command))));
    }
}

/// Turns a failed deployment into an error of the command.
pub fn conclude(outcome: &ResultSummary) -> Result<(), CliError> {
    if outcome.status != Status::Failed {
        return Ok(());
    }
    let message = outcome.error_message.as_deref().map(|message| cause(message, outcome.error_code.as_deref()));
    let message = message.unwrap_or_else(|| message!("cli.no_reason"));
    Err(CliError::DeploymentFailed { id: sanitize::line(&outcome.deployment_id), message })
}

/// The cause with its code, and below it the indented output of the build.
fn cause(message: &str, code: Option<&str>) -> Message {
    let message = sanitize::text(&as_commands(message));
    let mut lines = message.lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    if let Some(code) = code {
        text.extend([" (", sanitize::line(code).as_str(), ")"]);
    }
    for line in lines {
        text.push_str("\n    ");
        text.push_str(line);
    }
    Message::verbatim(text)
}
