//! `panda freeze`: holds the starts or switches of deployments for a time.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::token::expiry;
use super::{id_prefix, sanitize, table};
use crate::domain::freeze::{FreezeScope, Holds};
use crate::domain::message::{Message, message};
use crate::domain::validate;

/// Members that are shown first, and columns of the list.
const COLUMNS: [&str; 8] = ["freezeId", "scope", "holds", "state", "startsAt", "endsAt", "createdBy", "reason"];

#[derive(Args, Debug)]
pub struct FreezeArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a freeze of starts, switches or both
    Create(CreateArgs),
    /// List the freezes, newest first
    List(ListArgs),
    /// Lift a freeze before its end: deployments that wait for it start
    Lift(LiftArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Scopes:
  all                     every deployment of the server
  account:123456789012    deployments to an AWS account
  region:ap-northeast-2   deployments to an AWS region
  owner:acme              deployments of the repositories of an account or organisation
  repository:acme/shop    deployments of a repository

Examples:
  panda freeze create repository:acme/shop --until 2d --reason 'Stocktaking'
  panda freeze create all --from 2026-12-23T18:00:00Z --until 2026-12-27T06:00:00Z --holds switches --reason 'Christmas sale'

Held starts wait in the queue; held switches are refused. Rollbacks are never held. An approver overrides a freeze with --override-freeze REASON of
panda deploy, panda retry and panda switch.")]
struct CreateArgs {
    /// Deployments that it concerns: one of the scopes below
    scope: FreezeScope,
    /// Acts that it holds: starts, switches or both
    #[arg(long, default_value = "both")]
    holds: Holds,
    /// Reason, which deployments that wait show
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Beginning: a time such as 2026-12-23T18:00:00Z, or a duration from now such as 12h or 2d; now when absent
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    from: Option<DateTime<Utc>>,
    /// End: a time, or a duration from now; at most 366 days ahead
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    until: DateTime<Utc>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// List only those in force or to come
    #[arg(long)]
    pending: bool,
    /// Largest number of rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct LiftArgs {
    /// Id of the freeze, or its beginning
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

fn reason(given: &str) -> Result<String, Message> {
    validate::reason(given).map(|()| given.to_owned())
}

pub async fn run(args: FreezeArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Lift(args) => {
            let api = args.server.api()?;
            let data = api.lift_freeze(&id_prefix::freeze(&api, &args.id).await?).await?;
            show(&args.server, &data);
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let mut body = json!({
        "scope": args.scope.to_string(), "holds": args.holds.as_str(), "reason": args.reason, "endsAt": time(args.until),
    });
    if let Some(from) = args.from {
        body["startsAt"] = json!(time(from));
    }
    let data = args.server.api()?.create_freeze(&body).await?;
    show(&args.server, &data);
    Ok(())
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let filters = [
        ("pending", args.pending.then(|| "true".to_owned())),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let data = args.server.api()?.freezes(&query).await?;
    if args.server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows = data.get("freezes").and_then(Value::as_array).cloned().unwrap_or_default();
    print(table::rows(&rows, &COLUMNS, &text(&message!("cli.no_freezes"))).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&text(&message!("cli.more", cursor = sanitize::line(cursor))));
    }
    Ok(())
}

fn show(server: &ServerArgs, data: &Value) {
    print(if server.json { sanitize::json(data) } else { table::members(data, &COLUMNS) }.trim_end());
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
