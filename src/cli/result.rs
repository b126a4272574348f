//! `panda result`: what became of a deployment.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::what::flatten;
use super::{clean, table};

/// What is most looked for comes first.
const ORDER: [&str; 12] = [
    "deploymentId",
    "status",
    "errorCode",
    "errorMessage",
    "owner",
    "repo",
    "branch",
    "commitSha",
    "startedAt",
    "completedAt",
    "durationSeconds",
    "finalService",
];

/// Of an attempt before.
const ATTEMPT: [&str; 6] = ["attempt", "startedAt", "endedAt", "step", "errorCode", "errorMessage"];

/// `panda result`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda result dep_k1l2m3n4o5p6q7r8s9t0 --json

Exits with 0 whatever the status is: ask `panda watch` where a failed deployment has to be an error.")]
pub struct ResultArgs {
    /// The deployment's id
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows it.
pub async fn run(args: ResultArgs) -> Result<(), CliError> {
    let data = args.server.api()?.result(&args.id).await?;
    say(shown(&data, args.server.json).trim_end());
    Ok(())
}

/// A result as text or JSON.
pub fn shown(data: &Value, json: bool) -> String {
    if json {
        return clean::json(data);
    }
    // The attempts are a table of their own: each is a row.
    let mut members = data.clone();
    flatten(&mut members);
    let attempts = members.as_object_mut().and_then(|members| members.remove("attempts"));
    let mut text = table::members(&members, &ORDER);
    if let Some(Value::Array(attempts)) =
        attempts.filter(|attempts| attempts.as_array().is_some_and(|all| !all.is_empty()))
    {
        text.push_str("\nAttempts before\n");
        text.push_str(&table::rows(&attempts, &ATTEMPT, "none"));
    }
    text
}
