//! `panda webhook`: receivers of events outside Panda.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::id_prefix::IdArgs;
use super::lang::text;
use super::progress::print;
use super::request_args::label;
use super::{id_prefix, sanitize, table};
use crate::domain::message::{Message, message};
use crate::domain::principal::Scope;
use crate::domain::receiver::filter;
use crate::domain::webhook;

/// Members that are shown first, and columns of the list.
const COLUMNS: [&str; 6] = ["webhookId", "url", "enabled", "delivered", "pending", "dead"];

/// Columns of the list of deliveries.
pub(super) const DELIVERY_COLUMNS: [&str; 7] =
    ["deliveryId", "deploymentId", "sequence", "state", "attempts", "nextAttemptAt", "lastError"];

#[derive(Args, Debug)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a webhook, and print its secret once
    Create(CreateArgs),
    /// List the webhooks, the oldest first
    List(ServerArgs),
    /// Show a webhook and the state of its deliveries
    Show(IdArgs),
    /// Change, disable or enable a webhook: what is not given stays
    Change(ChangeArgs),
    /// Delete a webhook with its deliveries
    Delete(IdArgs),
    /// Send a test event, and show the receiver's answer
    Test(IdArgs),
    /// Rotate the secret of a webhook, and print the new one once
    Rotate(RotateArgs),
    /// List deliveries that did not succeed at the first attempt
    Deliveries(DeliveriesArgs),
    /// Send a dead letter again
    Replay(ReplayArgs),
}

/// What a webhook receives.
#[derive(Args, Debug)]
pub(super) struct FilterArgs {
    /// Type (stage, success, fail) or code of events that it receives; repeatable
    #[arg(long = "event", value_name = "EVENT", value_parser = event)]
    events: Vec<String>,
    /// Repository whose events it receives: OWNER/REPO or OWNER/*; repeatable
    #[arg(long = "repository", value_name = "REPOSITORY", value_parser = repository)]
    repositories: Vec<String>,
    /// Label that deployments must have, such as environment=production; repeatable
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Purpose
    #[arg(long, value_name = "TEXT", value_parser = description)]
    description: Option<String>,
    /// Language of messages
    #[arg(long)]
    language: Option<Language>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Ko,
    En,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda webhook create https://hooks.example.com/panda --event success --event fail --repository acme/shop
  panda webhook create https://hooks.example.com/all --language en

Receivers verify signatures by Standard Webhooks 1.0 with the printed secret, which cannot be shown again.")]
struct CreateArgs {
    /// Address of the receiver
    #[arg(value_parser = address)]
    url: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate option")]
struct ChangeArgs {
    /// Id of the webhook, or its beginning
    id: String,
    /// Address of the receiver
    #[arg(long, value_parser = address)]
    url: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Receive events of all types
    #[arg(long, conflicts_with = "events")]
    all_events: bool,
    /// Receive events of all repositories
    #[arg(long, conflicts_with = "repositories")]
    all_repositories: bool,
    /// Receive events of deployments with any labels
    #[arg(long, conflicts_with = "labels")]
    all_labels: bool,
    /// Stop the deliveries
    #[arg(long)]
    disable: bool,
    /// Deliver the events from now on
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct RotateArgs {
    /// Id of the webhook, or its beginning
    id: String,
    /// Time for which the secrets before sign as well [hours; 24]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(0..=168))]
    keep_previous: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(super) struct DeliveriesArgs {
    /// Id, or its beginning
    pub(super) id: String,
    /// List only those in this state
    #[arg(long)]
    state: Option<State>,
    /// Largest number of rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Cursor of the next page, as the previous page printed it
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Open,
    Dead,
    Delivered,
}

#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Id, or its beginning
    pub(super) id: String,
    /// Id of the dead delivery
    pub(super) delivery: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

pub(super) fn event(given: &str) -> Result<String, Message> {
    filter::events(&[given.to_owned()]).map(|()| given.to_owned())
}

fn repository(given: &str) -> Result<String, Message> {
    Scope::of(&[given.to_owned()]).map(|_| given.to_owned())
}

fn description(given: &str) -> Result<String, Message> {
    filter::description(given).map(|()| given.to_owned())
}

fn address(given: &str) -> Result<String, Message> {
    webhook::url(given).map(|_| given.to_owned())
}

pub async fn run(args: WebhookArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List(server) => list(&server).await,
        Command::Show(IdArgs { id, server }) => {
            let api = server.api()?;
            show(&server, &api.webhook(&id_prefix::webhook(&api, &id).await?).await?);
            Ok(())
        }
        Command::Change(args) => change(args).await,
        Command::Delete(IdArgs { id, server }) => {
            let api = server.api()?;
            show(&server, &api.delete_webhook(&id_prefix::webhook(&api, &id).await?).await?);
            Ok(())
        }
        Command::Test(IdArgs { id, server }) => {
            let api = server.api()?;
            let data = api.test_webhook(&id_prefix::webhook(&api, &id).await?).await?;
            print_members(&server, &data, &["accepted", "status", "error", "eventId"]);
            Ok(())
        }
        Command::Rotate(args) => {
            let api = args.server.api()?;
            let data = api.rotate_webhook(&id_prefix::webhook(&api, &args.id).await?, args.keep_previous).await?;
            print_secret(&args.server, &data);
            Ok(())
        }
        Command::Deliveries(args) => deliveries(args).await,
        Command::Replay(args) => {
            let api = args.server.api()?;
            let id = id_prefix::webhook(&api, &args.id).await?;
            print_members(&args.server, &api.replay_delivery(&id, &args.delivery).await?, &DELIVERY_COLUMNS);
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let mut body = json!({"url": args.url});
    fill(&mut body, &args.filter);
    print_secret(&args.server, &args.server.api()?.create_webhook(&body).await?);
    Ok(())
}

/// Sets the fields that are given.
pub(super) fn fill(body: &mut Value, filter: &FilterArgs) {
    if !filter.events.is_empty() {
        body["events"] = json!(filter.events);
    }
    if !filter.repositories.is_empty() {
        body["repositories"] = json!(filter.repositories);
    }
    if !filter.labels.is_empty() {
        let labels: Map<String, Value> =
            filter.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        body["labels"] = Value::Object(labels);
    }
    if let Some(description) = &filter.description {
        body["description"] = json!(description);
    }
    if let Some(language) = filter.language {
        body["language"] = json!(match language {
            Language::Ko => "ko",
            Language::En => "en",
        });
    }
}

async fn list(server: &ServerArgs) -> Result<(), CliError> {
    let data = server.api()?.webhooks().await?;
    if server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows = data.get("webhooks").and_then(Value::as_array).cloned().unwrap_or_default();
    print(table::rows(&rows, &COLUMNS, &text(&message!("cli.no_webhooks"))).trim_end());
    Ok(())
}

async fn change(args: ChangeArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::webhook(&api, &args.id).await?;
    let mut body = settings_of(&api.webhook(&id).await?);
    if let Some(url) = args.url {
        body["url"] = json!(url);
    }
    for (cleared, field) in
        [(args.all_events, "events"), (args.all_repositories, "repositories"), (args.all_labels, "labels")]
    {
        if let Some(body) = body.as_object_mut().filter(|_| cleared) {
            body.remove(field);
        }
    }
    fill(&mut body, &args.filter);
    if args.disable || args.enable {
        body["enabled"] = json!(args.enable);
    }
    show(&args.server, &api.change_webhook(&id, &body).await?);
    Ok(())
}

/// The settings of a webhook as a request has them.
fn settings_of(webhook: &Value) -> Value {
    let fields = ["url", "description", "events", "repositories", "labels", "language", "enabled"];
    let kept =
        fields.into_iter().filter_map(|field| Some((field, webhook.get(field).filter(|value| !value.is_null())?)));
    kept.map(|(field, value)| (field.to_owned(), value.clone())).collect()
}

impl DeliveriesArgs {
    /// The filters as the request has them.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let state = self.state.map(|state| match state {
            State::Open => "open".to_owned(),
            State::Dead => "dead".to_owned(),
            State::Delivered => "delivered".to_owned(),
        });
        let limit = self.limit.map(|limit| limit.to_string());
        let filters = [("state", state), ("limit", limit), ("cursor", self.cursor.clone())];
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

async fn deliveries(args: DeliveriesArgs) -> Result<(), CliError> {
    let api: Api = args.server.api()?;
    let data = api.webhook_deliveries(&id_prefix::webhook(&api, &args.id).await?, &args.query()).await?;
    print_deliveries(&args.server, &data);
    Ok(())
}

pub(super) fn print_deliveries(server: &ServerArgs, data: &Value) {
    if server.json {
        print(&sanitize::json(data));
        return;
    }
    let rows = data.get("deliveries").and_then(Value::as_array).cloned().unwrap_or_default();
    print(table::rows(&rows, &DELIVERY_COLUMNS, &text(&message!("cli.no_deliveries"))).trim_end());
    if let Some(cursor) = data.get("nextCursor").and_then(Value::as_str) {
        print(&text(&message!("cli.more", cursor = sanitize::line(cursor))));
    }
}

/// Prints the webhook and its new secret, which no other command prints.
fn print_secret(server: &ServerArgs, data: &Value) {
    if server.json {
        return print(sanitize::json(data).trim_end());
    }
    if let Some(webhook) = data.get("webhook") {
        show(server, webhook);
    }
    match data.get("secret").and_then(Value::as_str) {
        Some(secret) => print(&text(&message!("cli.webhook_secret", secret = sanitize::line(secret)))),
        None => print(&text(&message!("cli.webhook_secret_shown"))),
    }
}

fn show(server: &ServerArgs, data: &Value) {
    print_members(server, data, &COLUMNS);
}

pub(super) fn print_members(server: &ServerArgs, data: &Value, first: &[&str]) {
    print(if server.json { sanitize::json(data) } else { table::members(data, first) }.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_keeps_what_is_not_given() {
        let shown = json!({"webhookId": "whk_1", "url": "https://h/", "description": null, "events": ["fail"], "repositories": null,
                           "language": "en", "enabled": false, "delivered": 7});
        let settings = settings_of(&shown);
        assert_eq!(settings, json!({"url": "https://h/", "events": ["fail"], "language": "en", "enabled": false}));
    }
}
