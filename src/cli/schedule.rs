//! `panda schedule`: deployments that start by the clock.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::progress::say;
use super::source::{Wanted, choose};
use super::what::WhatArgs;
use super::{clean, table};
use crate::domain::deployment::Concurrency;
use crate::domain::schedule::Missed;

/// `panda schedule`.
#[derive(Args, Debug)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Have something deployed by the clock
    Create(CreateArgs),
    /// List the schedules, newest first
    List(PageArgs),
    /// Show a schedule, with its next times and what became of the last one
    Show(OneArgs),
    /// Change when, what or how; whoever does answers for it from then on
    Change(ChangeArgs),
    /// Stop it until somebody resumes it
    Pause(OneArgs),
    /// Go on with a paused one
    Resume(OneArgs),
    /// Take it over as it is: it deploys with your right from then on, and resumes it when it had stopped
    Adopt(OneArgs),
    /// Start what it would, now
    Run(OneArgs),
    /// Show what became of its times, latest first
    Runs(RunsArgs),
    /// Delete it; what it has started goes on
    Delete(OneArgs),
}

/// `panda schedule create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda schedule create --cron '30 6 * * MON-FRI' --time-zone Asia/Seoul --name morning
  panda schedule create --cron @daily --repo shop --branch release --concurrency queue --missed skip

The five fields are minute, hour, day of month, month and day of week. It deploys with your role, for the repositories that you see,
and stops when your permission ends: another caller can take it over then (panda schedule adopt).")]
struct CreateArgs {
    /// When: five fields such as '30 6 * * MON-FRI', or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long)]
    cron: String,
    /// By whose clock: a name of the IANA database such as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Account or organisation; may be left out when one repository is connected
    #[arg(long)]
    owner: Option<String>,
    /// Repository
    #[arg(long)]
    repo: Option<String>,
    #[command(flatten)]
    what: WhatArgs,
    /// Id of the connection to the repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// What to do when another deployment of the same target is not finished: reject, queue or supersede
    #[arg(long, value_name = "POLICY", default_value = "reject")]
    concurrency: Concurrency,
    /// What to do about times at which no server was there: run_once or skip
    #[arg(long, value_name = "POLICY", default_value = "run_once")]
    missed: Missed,
    /// Do not start anything before somebody resumes it
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// `panda schedule change`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda schedule change sch_4k1zq0v7w3m9x2c8b5n6 --cron '0 7 * * *' --github gh_7m3x9c2v5b8n1k4j6h0g")]
struct ChangeArgs {
    /// The schedule's id
    id: String,
    /// When
    #[arg(long)]
    cron: Option<String>,
    /// By whose clock
    #[arg(long)]
    time_zone: Option<String>,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    what: WhatArgs,
    /// Id of the connection to the repository, which has to be the same one
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// What to do when another deployment of the same target is not finished
    #[arg(long, value_name = "POLICY")]
    concurrency: Option<Concurrency>,
    /// What to do about times at which no server was there
    #[arg(long, value_name = "POLICY")]
    missed: Option<Missed>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A command on one schedule.
#[derive(Args, Debug)]
struct OneArgs {
    /// The schedule's id
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// `panda schedule runs`.
#[derive(Args, Debug)]
struct RunsArgs {
    /// The schedule's id
    id: String,
    #[command(flatten)]
    page: PageArgs,
}

/// Which page.
#[derive(Args, Debug)]
struct PageArgs {
    /// At most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on where the page before ended: the cursor that it gave
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub async fn run(args: ScheduleArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => {
            let columns = ["scheduleId", "name", "cron", "timeZone", "paused", "stopped", "nextRunAt", "lastError"];
            page(&args, None, "schedules", &columns, "no schedules: see panda schedule create --help").await
        }
        Command::Show(args) => {
            report(&args.server, &args.server.api()?.schedule(&args.id).await?);
            Ok(())
        }
        Command::Change(args) => change(args).await,
        Command::Pause(args) => set_paused(&args, true).await,
        Command::Resume(args) => set_paused(&args, false).await,
        Command::Adopt(args) => patch(&args, &json!({"adopt": true})).await,
        Command::Run(args) => {
            let data = args.server.api()?.run_schedule(&args.id).await?;
            tell(&args.server, &data, &["deploymentId"]);
            Ok(())
        }
        Command::Runs(args) => {
            let columns = ["dueAt", "at", "result", "times", "deploymentId", "errorCode", "errorMessage", "askedBy"];
            page(&args.page, Some(&args.id), "runs", &columns, "nothing yet").await
        }
        Command::Delete(args) => {
            let data = args.server.api()?.delete_schedule(&args.id).await?;
            tell(&args.server, &data, &["scheduleId"]);
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let wanted = Wanted {
        owner: args.owner,
        repo: args.repo,
        branch: args.what.branch.clone(),
        github: args.github,
        aws: args.aws,
    };
    let (github, aws) = choose(&wanted, &connections)?;
    let mut deploy = args.what.fields(&github.branch);
    deploy.extend([
        ("githubConnectionId".to_owned(), json!(github.connection_id)),
        ("awsConnectionId".to_owned(), json!(aws.connection_id)),
        ("owner".to_owned(), json!(github.owner)),
        ("repo".to_owned(), json!(github.repo)),
    ]);
    let body = json!({
        "name": args.name, "cron": args.cron, "timeZone": args.time_zone, "paused": args.paused,
        "concurrency": args.concurrency, "missed": args.missed, "deploy": deploy,
    });
    let data = api.create_schedule(&body).await?;
    report(&args.server, &data);
    Ok(())
}

async fn change(args: ChangeArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let mut body = Map::new();
    for (name, value) in [("cron", args.cron), ("timeZone", args.time_zone), ("name", args.name)] {
        body.extend(value.map(|value| (name.to_owned(), json!(value))));
    }
    body.extend(args.concurrency.map(|policy| ("concurrency".to_owned(), json!(policy))));
    body.extend(args.missed.map(|policy| ("missed".to_owned(), json!(policy))));
    let deploy = [("githubConnectionId", args.github), ("awsConnectionId", args.aws)];
    if !args.what.is_empty() || deploy.iter().any(|(_, value)| value.is_some()) {
        // The API takes all of it at once.
        let mut whole = api.schedule(&args.id).await?["deploy"].take();
        for (name, value) in deploy {
            if let Some(value) = value {
                whole[name] = json!(value);
            }
        }
        args.what.change(&mut whole);
        body.insert("deploy".to_owned(), whole);
    }
    let data = api.change_schedule(&args.id, &Value::Object(body)).await?;
    report(&args.server, &data);
    Ok(())
}

async fn set_paused(args: &OneArgs, paused: bool) -> Result<(), CliError> {
    patch(args, &json!({"paused": paused})).await
}

async fn patch(args: &OneArgs, change: &Value) -> Result<(), CliError> {
    let data = args.server.api()?.change_schedule(&args.id, change).await?;
    report(&args.server, &data);
    Ok(())
}

/// The schedule.
fn report(server: &ServerArgs, data: &Value) {
    let first = ["scheduleId", "name", "cron", "timeZone", "paused", "stopped", "nextRunAt", "lastError"];
    tell(server, data, &first);
}

fn tell(server: &ServerArgs, data: &Value, first: &[&str]) {
    say(&if server.json { clean::json(data) } else { table::members(data, first).trim_end().to_owned() });
}

/// One page of `kind`, of all schedules or of one.
async fn page(args: &PageArgs, of: Option<&str>, kind: &str, columns: &[&str], none: &str) -> Result<(), CliError> {
    let filters = [("limit", args.limit.map(|limit| limit.to_string())), ("cursor", args.cursor.clone())];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let api: Api = args.server.api()?;
    let data = match of {
        Some(id) => api.schedule_runs(id, &query).await?,
        None => api.schedules(&query).await?,
    };
    if args.server.json {
        say(&clean::json(&data));
        return Ok(());
    }
    let mut rows = data.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    for row in &mut rows {
        // The whole of it is in `show`; the reason is in `lastError`.
        if let Some(code) = row.pointer("/stopped/code").cloned() {
            row["stopped"] = code;
        }
    }
    say(table::rows(&rows, columns, none).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        say(&format!("\nMore: add --cursor {}", clean::line(cursor)));
    }
    Ok(())
}
