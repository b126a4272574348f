//! `panda audit`: shows the audit log, newest first.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda audit --action switch --since 2026-01-31T00:00:00Z
  panda audit --target dep_4k1zq0v7w3m9x2c8b5n6 --json

Needs the role admin.")]
pub struct AuditArgs {
    /// Only entries of this subject, such as a token's name
    #[arg(long)]
    subject: Option<String>,
    /// Only entries with this action, such as deploy, switch, token.create
    #[arg(long)]
    action: Option<String>,
    /// Only entries about this deployment, connection or token
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only entries at or after this time, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Largest number of entries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows one page of entries.
pub async fn run(args: AuditArgs) -> Result<(), CliError> {
    let filters = [
        ("subject", args.subject),
        ("action", args.action),
        ("target", args.target),
        ("since", args.since),
        ("until", args.until),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let data = args.server.api()?.audit(&query).await?;
    if args.server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows = data.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
    let columns = ["at", "subject", "role", "address", "action", "target", "result", "errorCode", "times", "requestId"];
    print(table::rows(&rows, &columns, &text(&message!("cli.nothing"))).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&format!("\n{}", text(&message!("cli.more", cursor = sanitize::line(cursor)))));
    }
    Ok(())
}
