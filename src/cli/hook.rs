//! `panda hook`: push hooks, by which pushes to GitHub start deployments.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::checkout;
use super::connection_choice::{ConnectionFilter, choose};
use super::error::CliError;
use super::id_prefix::IdArgs;
use super::lang::text;
use super::progress::print;
use super::{id_prefix, sanitize, table};
use crate::bounded;
use crate::domain::deployment::Concurrency;
use crate::domain::message::{Message, message};
use crate::domain::push_hook::{self, glob};

/// Members that are shown first, and columns of the list.
const COLUMNS: [&str; 5] = ["hookId", "name", "repositories", "enabled", "madeBy"];

/// Columns of the list of deliveries.
const DELIVERY_COLUMNS: [&str; 8] =
    ["deliveryId", "receivedAt", "event", "ref", "commit", "decision", "reasonCode", "deploymentId"];

#[derive(Args, Debug)]
pub struct HookArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a push hook, and print its secret once
    Create(CreateArgs),
    /// List the push hooks, the oldest first
    List(ServerArgs),
    /// Show a push hook with its rules
    Show(IdArgs),
    /// Change, disable or enable a push hook: what is not given stays; the caller becomes its owner
    Change(ChangeArgs),
    /// Become the owner of a push hook: it then deploys with your permission
    Adopt(IdArgs),
    /// Delete a push hook; deployments that it started continue
    Delete(IdArgs),
    /// Rotate the secret of a push hook, and print the new one once
    Rotate(RotateArgs),
    /// List what GitHub sent, with the decision and its reason
    Deliveries(DeliveriesArgs),
    /// Decide on a delivery again, by the present rules
    Redeliver(RedeliverArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda hook create --repo shop --branch main --ignore-path 'docs/**'
  panda hook create --repo shop --branch 'release/*' --tag 'v*' --concurrency queue --name releases
  panda hook create --file rules.json

A file has a list of rules, each a JSON object as the API takes it (docs/integrations.md). The first that matches a push starts a deployment.
Enter the printed address and secret at GitHub, under Settings, Webhooks. The secret cannot be shown again.")]
struct CreateArgs {
    /// Branches whose pushes start a deployment: a name or a pattern such as release/*; repeatable
    #[arg(long = "branch", value_name = "PATTERN", value_parser = pattern)]
    branches: Vec<String>,
    /// Tags whose pushes start a deployment; repeatable
    #[arg(long = "tag", value_name = "PATTERN", value_parser = pattern)]
    tags: Vec<String>,
    /// Paths of which a push to a branch must change one; repeatable
    #[arg(long = "path", value_name = "PATTERN", value_parser = pattern)]
    paths: Vec<String>,
    /// Paths whose changes do not count; repeatable
    #[arg(long = "ignore-path", value_name = "PATTERN", value_parser = pattern)]
    ignore_paths: Vec<String>,
    /// Policy when another deployment of the same target is unfinished: supersede (the default), queue or reject
    #[arg(long, value_name = "POLICY")]
    concurrency: Option<Concurrency>,
    /// File with the rules, instead of one rule by options
    #[arg(long, value_name = "FILE", conflicts_with_all = ["branches", "tags", "paths", "ignore_paths", "concurrency", "owner", "repo", "github", "aws"])]
    file: Option<PathBuf>,
    /// Name of the push hook
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Account or organisation; default: that of the checkout, or of the only connected repository
    #[arg(long)]
    owner: Option<String>,
    /// Name of the repository
    #[arg(long)]
    repo: Option<String>,
    /// Id of the connection to the repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct ChangeArgs {
    /// Id of the push hook, or its beginning
    id: String,
    /// File with the new rules
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name of the push hook
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Ignore what is received
    #[arg(long)]
    disable: bool,
    /// Start deployments again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct RotateArgs {
    /// Id of the push hook, or its beginning
    id: String,
    /// Time for which the secrets before are accepted as well [hours; 24]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(0..=168))]
    keep_previous: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct DeliveriesArgs {
    /// Id of the push hook, or its beginning
    id: String,
    /// List only those with this decision
    #[arg(long)]
    decision: Option<Decision>,
    /// Largest number of rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Decision {
    Started,
    Ignored,
    Rejected,
}

#[derive(Args, Debug)]
struct RedeliverArgs {
    /// Id of the push hook, or its beginning
    id: String,
    /// Id of the delivery, as GitHub and `panda hook deliveries` show it
    delivery: String,
    #[command(flatten)]
    server: ServerArgs,
}

fn pattern(given: &str) -> Result<String, Message> {
    glob::check(given).map(|()| given.to_owned())
}

fn name(given: &str) -> Result<String, Message> {
    push_hook::name(given).map(|()| given.to_owned())
}

pub async fn run(args: HookArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List(server) => list(&server).await,
        Command::Show(IdArgs { id, server }) => {
            let api = server.api()?;
            show(&server, &api.hook(&id_prefix::hook(&api, &id).await?).await?);
            Ok(())
        }
        Command::Change(args) => change(args).await,
        Command::Adopt(IdArgs { id, server }) => {
            let args = ChangeArgs { id, file: None, name: None, disable: false, enable: false, server };
            change(args).await
        }
        Command::Delete(IdArgs { id, server }) => {
            let api = server.api()?;
            show(&server, &api.delete_hook(&id_prefix::hook(&api, &id).await?).await?);
            Ok(())
        }
        Command::Rotate(args) => {
            let api = args.server.api()?;
            let data = api.rotate_hook(&id_prefix::hook(&api, &args.id).await?, args.keep_previous).await?;
            print_secret(&args.server, &data);
            Ok(())
        }
        Command::Deliveries(args) => deliveries(args).await,
        Command::Redeliver(args) => {
            let api = args.server.api()?;
            let id = id_prefix::hook(&api, &args.id).await?;
            print_members(&args.server, &api.redeliver(&id, &args.delivery).await?, &DELIVERY_COLUMNS);
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let rules = match &args.file {
        Some(file) => rules_of(file)?,
        None => json!([rule(&api, &args).await?]),
    };
    let mut body = json!({"rules": rules});
    if let Some(name) = args.name {
        body["name"] = json!(name);
    }
    print_secret(&args.server, &api.create_hook(&body).await?);
    Ok(())
}

/// The one rule that the options describe.
async fn rule(api: &Api, args: &CreateArgs) -> Result<Value, CliError> {
    let (connections, _) = api.connections().await?;
    let (owner, repo) = (args.owner.clone(), args.repo.clone());
    let (github, aws) = (args.github.clone(), args.aws.clone());
    let mut filter = ConnectionFilter { owner, repo, branch: None, github, aws };
    filter.complete(checkout::here(), &connections)?;
    let (github, aws) = choose(&filter, &connections)?;
    let mut rule = json!({
        "githubConnectionId": github.connection_id, "awsConnectionId": aws.connection_id, "owner": github.owner, "repo": github.repo,
    });
    let lists = [
        ("branches", &args.branches),
        ("tags", &args.tags),
        ("paths", &args.paths),
        ("ignorePaths", &args.ignore_paths),
    ];
    for (field, patterns) in lists.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
        rule[field] = json!(patterns);
    }
    if let Some(policy) = args.concurrency {
        rule["concurrency"] = json!(policy);
    }
    Ok(rule)
}

fn rules_of(file: &std::path::Path) -> Result<Value, CliError> {
    let refused = |error: String| CliError::input("--file", Message::verbatim(format!("{}: {error}", file.display())));
    let bytes = bounded::file(file).map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))
}

async fn list(server: &ServerArgs) -> Result<(), CliError> {
    let data = server.api()?.hooks().await?;
    if server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows = data.get("hooks").and_then(Value::as_array).cloned().unwrap_or_default();
    print(table::rows(&rows, &COLUMNS, &text(&message!("cli.no_hooks"))).trim_end());
    Ok(())
}

async fn change(args: ChangeArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::hook(&api, &args.id).await?;
    let mut body = settings_of(&api.hook(&id).await?);
    if let Some(file) = &args.file {
        body["rules"] = rules_of(file)?;
    }
    if let Some(name) = args.name {
        body["name"] = json!(name);
    }
    if args.disable || args.enable {
        body["enabled"] = json!(args.enable);
    }
    show(&args.server, &api.change_hook(&id, &body).await?);
    Ok(())
}

/// The settings of a push hook as a request has them.
fn settings_of(hook: &Value) -> Value {
    let fields = ["name", "rules", "enabled"];
    let kept = fields.into_iter().filter_map(|field| Some((field, hook.get(field).filter(|value| !value.is_null())?)));
    kept.map(|(field, value)| (field.to_owned(), value.clone())).collect()
}

async fn deliveries(args: DeliveriesArgs) -> Result<(), CliError> {
    let decision = args.decision.map(|decision| match decision {
        Decision::Started => "started".to_owned(),
        Decision::Ignored => "ignored".to_owned(),
        Decision::Rejected => "rejected".to_owned(),
    });
    let limit = args.limit.map(|limit| limit.to_string());
    let filters = [("decision", decision), ("limit", limit), ("cursor", args.cursor)];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let api: Api = args.server.api()?;
    let data = api.hook_deliveries(&id_prefix::hook(&api, &args.id).await?, &query).await?;
    if args.server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows = data.get("deliveries").and_then(Value::as_array).cloned().unwrap_or_default();
    print(table::rows(&rows, &DELIVERY_COLUMNS, &text(&message!("cli.nothing_yet"))).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&text(&message!("cli.more", cursor = sanitize::line(cursor))));
    }
    Ok(())
}

/// Prints the push hook, the address for GitHub, and its new secret, which no other command prints.
fn print_secret(server: &ServerArgs, data: &Value) {
    if server.json {
        return print(sanitize::json(data).trim_end());
    }
    if let Some(hook) = data.get("hook") {
        show(server, hook);
    }
    match data.get("secret").and_then(Value::as_str) {
        Some(secret) => print(&text(&message!("cli.webhook_secret", secret = sanitize::line(secret)))),
        None => print(&text(&message!("cli.webhook_secret_shown"))),
    }
}

fn show(server: &ServerArgs, data: &Value) {
    print_members(server, data, &COLUMNS);
}

fn print_members(server: &ServerArgs, data: &Value, first: &[&str]) {
    print(if server.json { sanitize::json(data) } else { table::members(data, first) }.trim_end());
}
