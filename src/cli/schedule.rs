//! `panda schedule`: manages scheduled deployments.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::api::{Api, ServerArgs};
use super::checkout;
use super::connection_choice::{ConnectionFilter, choose};
use super::error::CliError;
use super::id_prefix::IdArgs;
use super::lang::text;
use super::progress::print;
use super::request_args::{RequestArgs, flatten};
use super::watch::accepted;
use super::{id_prefix, sanitize, table};
use crate::domain::deployment::Concurrency;
use crate::domain::message::message;
use crate::domain::schedule::Missed;

#[derive(Args, Debug)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a schedule for a repository
    Create(CreateArgs),
    /// List the schedules, newest first
    List(PageArgs),
    /// Show a schedule, with its next times and its last run
    Show(IdArgs),
    /// Change the times, source or policies of a schedule; the caller becomes its owner
    Change(ChangeArgs),
    /// Pause a schedule until it is resumed
    Pause(IdArgs),
    /// Resume a paused schedule
    Resume(IdArgs),
    /// Become the owner of a schedule: it then deploys with your permission, and resumes if it had stopped
    Adopt(IdArgs),
    /// Start the schedule's deployment now
    Run(IdArgs),
    /// Show the runs of a schedule, latest first
    Runs(RunsArgs),
    /// Delete a schedule; deployments that it started continue
    Delete(IdArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda schedule create --cron '30 6 * * MON-FRI' --time-zone Asia/Seoul --name morning
  panda schedule create --cron @daily --repo shop --branch release --concurrency queue --missed skip

The five fields are minute, hour, day of month, month and day of week. The schedule deploys with your role, for the repositories that you see,
and stops when your permission ends; another caller can then take it over (panda schedule adopt).")]
struct CreateArgs {
    /// Cron expression: five fields such as '30 6 * * MON-FRI', or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long)]
    cron: String,
    /// Time zone of the expression: a name of the IANA database such as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// Name of the schedule
    #[arg(long)]
    name: Option<String>,
    /// Account or organisation; default: that of the checkout, or of the only connected repository
    #[arg(long)]
    owner: Option<String>,
    /// Name of the repository
    #[arg(long)]
    repo: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// Id of the connection to the repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// Policy when another deployment of the same target is unfinished: reject, queue or supersede; by default the server's setting
    #[arg(long, value_name = "POLICY")]
    concurrency: Option<Concurrency>,
    /// Policy for times missed while no server ran: run_once or skip
    #[arg(long, value_name = "POLICY", default_value = "run_once")]
    missed: Missed,
    /// Create the schedule paused
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda schedule change sch_4k1zq0v7w3m9x2c8b5n6 --cron '0 7 * * *' --github gh_7m3x9c2v5b8n1k4j6h0g")]
struct ChangeArgs {
    /// Id of the schedule, or its beginning
    id: String,
    /// New cron expression, in the forms that `create` takes
    #[arg(long)]
    cron: Option<String>,
    /// Time zone of the expression
    #[arg(long)]
    time_zone: Option<String>,
    /// Name of the schedule
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// Id of another connection to the same repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// Policy when another deployment of the same target is unfinished: reject, queue or supersede
    #[arg(long, value_name = "POLICY")]
    concurrency: Option<Concurrency>,
    /// Policy for times missed while no server ran: run_once or skip
    #[arg(long, value_name = "POLICY")]
    missed: Option<Missed>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct RunsArgs {
    /// Id of the schedule, or its beginning
    id: String,
    #[command(flatten)]
    page: PageArgs,
}

/// Options of a paginated list.
#[derive(Args, Debug)]
struct PageArgs {
    /// Largest number of rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: ScheduleArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => {
            let columns = [
                "scheduleId",
                "name",
                "owner",
                "repo",
                "branch",
                "cron",
                "timeZone",
                "paused",
                "stopped",
                "nextRunAt",
                "lastError",
            ];
            page(&args, None, "schedules", &columns, &text(&message!("cli.no_schedules"))).await
        }
        Command::Show(args) => {
            let api = args.server.api()?;
            report(&args.server, &api.schedule(&id_prefix::schedule(&api, &args.id).await?).await?);
            Ok(())
        }
        Command::Change(args) => change(args).await,
        Command::Pause(args) => set_paused(&args, true).await,
        Command::Resume(args) => set_paused(&args, false).await,
        Command::Adopt(args) => patch(&args, &json!({"adopt": true})).await,
        Command::Run(args) => {
            let api = args.server.api()?;
            let data = api.run_schedule(&id_prefix::schedule(&api, &args.id).await?).await?;
            let id = data.get("deploymentId").and_then(Value::as_str).unwrap_or_default().to_owned();
            accepted(&id, data, &args.server);
            Ok(())
        }
        Command::Runs(args) => {
            let columns = ["dueAt", "at", "result", "times", "deploymentId", "errorCode", "errorMessage", "askedBy"];
            page(&args.page, Some(&args.id), "runs", &columns, &text(&message!("cli.nothing_yet"))).await
        }
        Command::Delete(args) => {
            let api = args.server.api()?;
            let data = api.delete_schedule(&id_prefix::schedule(&api, &args.id).await?).await?;
            show(&args.server, &data, &["scheduleId"]);
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let branch = args.request.branch.clone();
    let mut filter =
        ConnectionFilter { owner: args.owner, repo: args.repo, branch, github: args.github, aws: args.aws };
    // The branch is the connection's: the one that is checked out now may be gone at the next time.
    filter.complete(checkout::here(), &connections)?;
    let (github, aws) = choose(&filter, &connections)?;
    let mut deploy = args.request.fields(&github.branch);
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
    let id = id_prefix::schedule(&api, &args.id).await?;
    let mut body = Map::new();
    for (name, value) in [("cron", args.cron), ("timeZone", args.time_zone), ("name", args.name)] {
        body.extend(value.map(|value| (name.to_owned(), json!(value))));
    }
    body.extend(args.concurrency.map(|policy| ("concurrency".to_owned(), json!(policy))));
    body.extend(args.missed.map(|policy| ("missed".to_owned(), json!(policy))));
    let deploy = [("githubConnectionId", args.github), ("awsConnectionId", args.aws)];
    if !args.request.is_empty() || deploy.iter().any(|(_, value)| value.is_some()) {
        // The API replaces the whole member.
        let mut whole = api.schedule(&id).await?["deploy"].take();
        for (name, value) in deploy {
            if let Some(value) = value {
                whole[name] = json!(id_prefix::connection(&api, &value).await?);
            }
        }
        args.request.change(&mut whole);
        body.insert("deploy".to_owned(), whole);
    }
    let data = api.change_schedule(&id, &Value::Object(body)).await?;
    report(&args.server, &data);
    Ok(())
}

async fn set_paused(args: &IdArgs, paused: bool) -> Result<(), CliError> {
    patch(args, &json!({"paused": paused})).await
}

async fn patch(args: &IdArgs, change: &Value) -> Result<(), CliError> {
    let api = args.server.api()?;
    let data = api.change_schedule(&id_prefix::schedule(&api, &args.id).await?, change).await?;
    report(&args.server, &data);
    Ok(())
}

/// Prints a schedule; as text with the members of its deployment among its own.
fn report(server: &ServerArgs, data: &Value) {
    let first = [
        "scheduleId",
        "name",
        "owner",
        "repo",
        "branch",
        "cron",
        "timeZone",
        "nextRunAt",
        "nextRuns",
        "paused",
        "stopped",
        "lastError",
    ];
    if server.json {
        show(server, data, &first);
    } else {
        let mut members = data.clone();
        raise_deployment(&mut members);
        show(server, &members, &first);
    }
}

/// Moves the members of `deploy` up, with the source as `branch`, as `panda list` shows deployments.
fn raise_deployment(schedule: &mut Value) {
    let Some(members) = schedule.as_object_mut() else { return };
    let Some(Value::Object(deploy)) = members.remove("deploy") else { return };
    let mut requested = serde_json::Map::new();
    for (name, value) in deploy {
        if matches!(name.as_str(), "owner" | "repo" | "githubConnectionId" | "awsConnectionId" | "branch") {
            members.insert(name, value);
        } else {
            requested.insert(name, value);
        }
    }
    members.insert("requested".to_owned(), Value::Object(requested));
    flatten(schedule);
}

fn show(server: &ServerArgs, data: &Value, first: &[&str]) {
    print(&if server.json { sanitize::json(data) } else { table::members(data, first).trim_end().to_owned() });
}

/// Prints one page: the runs of the schedule `of`, or all schedules. `kind` is the member of the response.
async fn page(args: &PageArgs, of: Option<&str>, kind: &str, columns: &[&str], none: &str) -> Result<(), CliError> {
    let filters = [("limit", args.limit.map(|limit| limit.to_string())), ("cursor", args.cursor.clone())];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let api: Api = args.server.api()?;
    let data = match of {
        Some(id) => api.schedule_runs(&id_prefix::schedule(&api, id).await?, &query).await?,
        None => api.schedules(&query).await?,
    };
    if args.server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let mut rows = data.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    for row in &mut rows {
        raise_deployment(row);
        // Only the code: `panda schedule show` prints the whole member, and `lastError` has the reason.
        if let Some(code) = row.pointer("/stopped/code").cloned() {
            row["stopped"] = code;
        }
    }
    print(table::rows(&rows, columns, none).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&format!("\n{}", text(&message!("cli.more", cursor = sanitize::line(cursor)))));
    }
    Ok(())
}
