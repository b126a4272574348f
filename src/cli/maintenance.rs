//! `panda maintenance`: shows the retention of stored data and the maintenance runs, and starts a run.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::domain::maintenance::RetentionKind;
use crate::domain::message::message;

/// Interval between two polls of a run.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda maintenance                              show retention, times and last runs
  panda maintenance runs --kind events           show runs, newest first
  panda maintenance run build_lines --dry-run    count the rows that a run would remove now
  panda maintenance run build_lines              remove them now

Needs the role admin. docs/retention.md describes the kinds.")]
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
    /// Start a run now, and wait for its end
    Run(RunArgs),
}

#[derive(Args, Debug)]
struct RunsArgs {
    /// Only runs of this kind: build_lines, events, deployments, workspaces, images, runs
    #[arg(long)]
    kind: Option<RetentionKind>,
    /// Largest number of runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// Kind of data to remove: build_lines, events, deployments, workspaces, images, runs
    kind: RetentionKind,
    /// Only count the items that a run would remove
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end of the run
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

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
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows: Vec<Value> = members(&data, "kinds").iter().map(flat).collect();
    let columns = ["kind", "keep", "cron", "nextRun", "lastRun", "state", "removed"];
    print(table::rows(&rows, &columns, &text(&message!("cli.nothing"))).trim_end());
    Ok(())
}

/// Flattens a kind and its newest run into one row.
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
        print(&sanitize::json(&data));
        return Ok(());
    }
    show(&members(&data, "runs"));
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&format!("\n{}", text(&message!("cli.more", cursor = sanitize::line(cursor)))));
    }
    Ok(())
}

async fn start(args: RunArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let requested = api.start_maintenance(&json!({"kind": args.kind, "dryRun": args.dry_run})).await?;
    let ids: Vec<String> = members(&requested, "runs").iter().map(Value::to_string).collect();
    let data = if args.no_wait || ids.is_empty() { requested } else { wait(&api, &ids).await? };
    if args.server.json {
        print(&sanitize::json(&data));
    } else if let Some(message) = data.get("message").and_then(Value::as_str) {
        print(&sanitize::line(message));
    } else {
        show(&members(&data, "runs"));
    }
    let failed = members(&data, "runs").into_iter().find_map(|run| run["error"].as_str().map(sanitize::line));
    failed.map_or(Ok(()), |reason| Err(CliError::Maintenance { kind: args.kind, reason }))
}

/// Waits, without a time limit, until all runs have ended.
async fn wait(api: &Api, ids: &[String]) -> Result<Value, CliError> {
    let query = [("id", ids.join(",")), ("limit", "100".to_owned())];
    loop {
        let data = api.maintenance_runs(&query).await?;
        if members(&data, "runs").iter().all(|run| !run["endedAt"].is_null()) {
            return Ok(data);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
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
    print(table::rows(runs, &columns, &text(&message!("cli.no_runs"))).trim_end());
}

fn members(data: &Value, name: &str) -> Vec<Value> {
    data.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}
