//! `panda list`: lists deployments, newest first.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::request_args::flatten;
use super::{sanitize, table};
use crate::domain::deployment::Status;
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda list --status FAILED --since 2026-01-31T00:00:00Z
  panda list --owner acme --repo shop --limit 5 --json")]
pub struct ListArgs {
    /// Only deployments with this status: RUNNING, DEPLOYMENT_READY, COMPLETED or FAILED
    #[arg(long)]
    status: Option<Status>,
    /// Only deployments of this account or organisation
    #[arg(long)]
    owner: Option<String>,
    /// Only deployments of this repository
    #[arg(long)]
    repo: Option<String>,
    /// Only deployments of this branch
    #[arg(long)]
    branch: Option<String>,
    /// Only deployments started at or after this time, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only deployments started before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Largest number of deployments
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows one page of deployments.
pub async fn run(args: ListArgs) -> Result<(), CliError> {
    let filters = [
        ("status", args.status.map(|status| status.to_string())),
        ("owner", args.owner),
        ("repo", args.repo),
        ("branch", args.branch),
        ("since", args.since),
        ("until", args.until),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let data = args.server.api()?.list(&query).await?;
    if args.server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let mut rows = data.get("deployments").and_then(Value::as_array).cloned().unwrap_or_default();
    rows.iter_mut().for_each(flatten);
    let columns =
        ["deploymentId", "status", "owner", "repo", "branch", "startedAt", "attempt", "queuePosition", "errorCode"];
    print(table::rows(&rows, &columns, &text(&message!("cli.no_deployments"))).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&format!("\n{}", text(&message!("cli.more", cursor = sanitize::line(cursor)))));
    }
    Ok(())
}
