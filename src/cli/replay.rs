//! `panda replay`: reads the stored history of a deployment's executions again.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::{CliError, exit};
use super::lang::text;
use super::progress::print;
use super::{id_prefix, sanitize, table};
use crate::domain::message::message;

/// Columns of the table.
const COLUMNS: [&str; 7] = ["attempt", "eventId", "eventType", "produced", "published", "equal", "difference"];

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda replay dep_k1l2m3n4o5p6q7r8s9t0

Reads the stored events of the deployment's executions with the server's present version, and compares the result with the events that were published.
Shows history events that lead to an event, and differences; --all shows all. Exits with code 1 when something differs, and 4 when no events are stored.
Needs the role admin.")]
pub struct ReplayArgs {
    /// Id of the deployment, or its beginning
    id: String,
    /// Show all history events, also those that lead to nothing
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows the findings; returns the exit code.
pub async fn run(args: ReplayArgs) -> Result<u8, CliError> {
    let api = args.server.api()?;
    let data = api.replay(&id_prefix::deployment(&api, &args.id).await?).await?;
    let number = |name: &str| data.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (stored, differences) = (number("storedEvents"), number("differences"));
    if args.server.json {
        print(&sanitize::json(&data));
    } else if stored > 0 {
        let findings = data.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
        let shown: Vec<Value> = findings.into_iter().filter(|found| args.all || is_notable(found)).map(flat).collect();
        print(table::rows(&shown, &COLUMNS, &text(&message!("cli.nothing"))).trim_end());
        print(&format!("\n{}", text(&message!("cli.replayed", events = stored, differences))));
    }
    if stored == 0 {
        if !args.server.json {
            print(&text(&message!("cli.no_history", id = sanitize::line(&args.id))));
        }
        return Ok(exit::REFUSED);
    }
    Ok(if differences > 0 { exit::FAILED } else { 0 })
}

/// Reports whether a finding leads to an event, or differs.
fn is_notable(found: &Value) -> bool {
    let leads = |name: &str| found.get(name).and_then(Value::as_array).is_some_and(|codes| !codes.is_empty());
    found.get("equal") != Some(&Value::Bool(true)) || leads("produced") || leads("published")
}

/// Joins the lists of codes.
fn flat(mut found: Value) -> Value {
    for name in ["produced", "published"] {
        if let Some(codes) = found.get_mut(name) {
            let joined: Vec<&str> = codes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            *codes = if joined.is_empty() { Value::Null } else { Value::from(joined.join(", ")) };
        }
    }
    found
}
