//! `panda result`: shows the result of a deployment.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::request_args::flatten;
use super::{id_prefix, sanitize, table};
use crate::domain::message::message;

/// Members that are shown first, most important first.
const ORDER: [&str; 18] = [
    "deploymentId",
    "status",
    "errorCode",
    "errorMessage",
    "owner",
    "repo",
    "branch",
    "commitSha",
    "commitAuthor",
    "commitSubject",
    "startedAt",
    "completedAt",
    "trafficMovedAt",
    "outcome",
    "durationSeconds",
    "finalService",
    "readyUntil",
    "blueTerminatedAt",
];

/// Columns of the table of earlier attempts.
const ATTEMPT: [&str; 6] = ["attempt", "startedAt", "endedAt", "step", "errorCode", "errorMessage"];

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda result dep_k1l2m3n4o5p6q7r8s9t0 --json

Exits with code 0 for every status. Use `panda watch` if a failed deployment should be an error.")]
pub struct ResultArgs {
    /// Id of the deployment, or its beginning
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: ResultArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let data = api.result(&id_prefix::deployment(&api, &args.id).await?).await?;
    print(shown(&data, args.server.json).trim_end());
    Ok(())
}

/// Formats a result as text or JSON.
pub fn shown(data: &Value, json: bool) -> String {
    if json {
        return sanitize::json(data);
    }
    // Attempts go to a separate table, one row each.
    let mut members = data.clone();
    flatten(&mut members);
    let attempts = members.as_object_mut().and_then(|members| members.remove("attempts"));
    let output = take_output(&mut members);
    let mut shown = table::members(&members, &ORDER);
    if let Some(output) = output {
        shown.extend(["\n", &sanitize::text(&output), "\n"]);
    }
    if let Some(Value::Array(mut attempts)) =
        attempts.filter(|attempts| attempts.as_array().is_some_and(|all| !all.is_empty()))
    {
        for attempt in &mut attempts {
            take_output(attempt);
        }
        shown.push('\n');
        shown.push_str(&text(&message!("cli.earlier_attempts")));
        shown.push('\n');
        shown.push_str(&table::rows(&attempts, &ATTEMPT, &text(&message!("cli.none"))));
    }
    shown
}

/// Leaves the cause in the message of a failure, and returns the build's output that follows it.
fn take_output(members: &mut Value) -> Option<String> {
    let message = members.get("errorMessage")?.as_str()?;
    let (cause, output) = message.split_once('\n')?;
    let (cause, output) = (cause.to_owned(), output.to_owned());
    members["errorMessage"] = Value::String(cause);
    Some(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shows_the_cause_apart_from_the_output() {
        let failed = json!({"deploymentId": "dep_1", "errorMessage": "exit code: 3\nnpm ERR a\nnpm ERR b"});
        assert_eq!(shown(&failed, false), "deploymentId  dep_1\nerrorMessage  exit code: 3\n\nnpm ERR a\nnpm ERR b\n");
        let past = json!({"deploymentId": "dep_1", "attempts": [{"attempt": 1, "errorMessage": "x\ny"}]});
        assert!(shown(&past, false).ends_with("x\n"), "{}", shown(&past, false));
    }
}
