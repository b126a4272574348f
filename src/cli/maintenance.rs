//! `panda maintenance`: what is removed with time, and how that went.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::progress::say;
use super::{clean, table};
use crate::domain::maintenance::Kind;

/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(500);

/// `panda maintenance`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda maintenance                              what is removed, when, and how the last runs went
  panda maintenance runs --kind events           what was removed, newest first
  panda maintenance run build_lines --dry-run    count what would be removed now
  panda maintenance run build_lines              remove it now

Needs the role admin. docs/retention.md says what each kind is.")]
pub struct MaintenanceArgs {
    #[command(subcommand)]
    command: Option<MaintenanceCommand>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum MaintenanceCommand {
    /// Show runs, newest first
    Runs(RunsArgs),
    /// Run one now, and wait for its end
    Run(RunArgs),
}

#[derive(Args, Debug)]
struct RunsArgs {
    /// Only this kind: build_lines, events, deployments, workspaces, images, runs
    #[arg(long)]
    kind: Option<Kind>,
    /// At most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on where the page before ended: the cursor that it gave
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// What is removed: build_lines, events, deployments, workspaces, images, runs
    kind: Kind,
    /// Only count what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: MaintenanceArgs) -> Result<(), CliError> {
    match args.command {
        None => kinds(&args.server).await,
        Some(MaintenanceCommand::Runs(args)) => runs(args).await,
        Some(MaintenanceCommand::Run(args)) => start(args).await,
    }
}

async fn kinds(server: &ServerArgs) -> Result<(), CliError> {
    let data = server.api()?.maintenance().await?;
    if server.json {
        say(&clean::json(&data));
        return Ok(());
    }
    let rows: Vec<Value> = members(&data, "kinds").iter().map(flat).collect();
    let columns = ["kind", "keep", "cron", "nextRun", "lastRun", "state", "removed"];
    say(table::rows(&rows, &columns, "nothing").trim_end());
    Ok(())
}

/// A kind with its newest run in one row.
fn flat(kind: &Value) -> Value {
    let last = &kind["lastRun"];
    let at = [&last["endedAt"], &last["startedAt"], &last["requestedAt"]].into_iter().find(|at| !at.is_null());
    json!({
        "kind": kind["kind"], "keep": kind["keep"], "cron": kind["cron"], "nextRun": kind["nextRun"],
        "lastRun": at, "state": last["state"], "removed": last["removed"],
    })
}

async fn runs(args: RunsArgs) -> Result<(), CliError> {
    let filters = [
        ("kind", args.kind.map(|kind| kind.to_string())),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let data = args.server.api()?.maintenance_runs(&query).await?;
    if args.server.json {
        say(&clean::json(&data));
        return Ok(());
    }
    show(&members(&data, "runs"));
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        say(&format!("\nMore: add --cursor {}", clean::line(cursor)));
    }
    Ok(())
}

async fn start(args: RunArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let asked = api.start_maintenance(&json!({"kind": args.kind, "dryRun": args.dry_run})).await?;
    let ids: Vec<String> = members(&asked, "runs").iter().map(Value::to_string).collect();
    let data = if args.no_wait || ids.is_empty() { asked } else { wait(&api, &ids).await? };
    if args.server.json {
        say(&clean::json(&data));
    } else if let Some(message) = data.get("message").and_then(Value::as_str) {
        say(&clean::line(message));
    } else {
        show(&members(&data, "runs"));
    }
    let failed = members(&data, "runs").into_iter().find_map(|run| run["error"].as_str().map(clean::line));
    failed.map_or(Ok(()), |reason| Err(CliError::Maintenance { kind: args.kind, reason }))
}

/// Waits until all have ended; a run that has much to do takes its time.
async fn wait(api: &Api, ids: &[String]) -> Result<Value, CliError> {
    let query = [("id", ids.join(",")), ("limit", "100".to_owned())];
    loop {
        let data = api.maintenance_runs(&query).await?;
        if members(&data, "runs").iter().all(|run| !run["endedAt"].is_null()) {
            return Ok(data);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(runs: &[Value]) {
    let columns = [
        "id",
        "kind",
        "state",
        "removed",
        "dryRun",
        "startedAt",
        "endedAt",
        "olderThan",
        "replica",
        "requestedBy",
        "error",
    ];
    say(table::rows(runs, &columns, "no runs").trim_end());
}

fn members(data: &Value, name: &str) -> Vec<Value> {
    data.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}
