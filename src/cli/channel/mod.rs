//! `panda channel`: chats, mailboxes and GitHub, which show deployments to people.

mod settings;

use clap::{Args, Subcommand};
use serde_json::Value;

use self::settings::{Kind, SettingsArgs};
use super::api::ServerArgs;
use super::error::CliError;
use super::id_prefix::IdArgs;
use super::lang::text;
use super::progress::print;
use super::{id_prefix, sanitize, table, webhook};
use crate::domain::message::message;

/// Members that are shown first, and columns of the list.
const COLUMNS: [&str; 6] = ["channelId", "kind", "enabled", "delivered", "pending", "dead"];

#[derive(Args, Debug)]
pub struct ChannelArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a channel in Slack, Teams, Discord, mail or at GitHub
    Create(Box<CreateArgs>),
    /// List the channels, the oldest first
    List(ServerArgs),
    /// Show a channel and the state of its deliveries
    Show(IdArgs),
    /// Change, disable or enable a channel: what is not given stays
    Change(Box<ChangeArgs>),
    /// Delete a channel with its deliveries
    Delete(IdArgs),
    /// Send a test message, and show its outcome
    Test(IdArgs),
    /// List deliveries that did not succeed at the first attempt, or that quiet hours hold
    Deliveries(webhook::DeliveriesArgs),
    /// Send a dead letter again
    Replay(webhook::ReplayArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda channel create slack --slack-channel C0123456789 --secret-file token.txt --language en --mention S0123456789
  panda channel create mail --smtp-host smtp.example.com --smtp-user panda --from panda@example.com --to ops@example.com --secret-file password.txt
  panda channel create github --repository acme/shop --github-environment staging
  panda channel create discord --secret-file address.txt --quiet 22:00-08:00 --time-zone Asia/Seoul --except fail

The secret is the bot token of Slack, the address of the incoming webhook of Teams or Discord, or the password of mail.
A channel at GitHub has none: it uses the tokens of the connections.")]
struct CreateArgs {
    /// Kind of the channel
    kind: Kind,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate option")]
struct ChangeArgs {
    /// Id of the channel, or its beginning
    id: String,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Show deployments of all repositories
    #[arg(long, conflicts_with = "repositories")]
    all_repositories: bool,
    /// Show deployments with any labels
    #[arg(long, conflicts_with = "labels")]
    all_labels: bool,
    /// Have no quiet hours
    #[arg(long, conflicts_with = "quiet")]
    no_quiet: bool,
    /// Stop the deliveries
    #[arg(long)]
    disable: bool,
    /// Deliver the events from now on
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: ChannelArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => {
            let body = args.settings.body(args.kind)?;
            show(&args.server, &args.server.api()?.create_channel(&body).await?);
            Ok(())
        }
        Command::List(server) => list(&server).await,
        Command::Show(IdArgs { id, server }) => {
            let api = server.api()?;
            show(&server, &api.channel(&id_prefix::channel(&api, &id).await?).await?);
            Ok(())
        }
        Command::Change(args) => change(*args).await,
        Command::Delete(IdArgs { id, server }) => {
            let api = server.api()?;
            show(&server, &api.delete_channel(&id_prefix::channel(&api, &id).await?).await?);
            Ok(())
        }
        Command::Test(IdArgs { id, server }) => {
            let api = server.api()?;
            let data = api.test_channel(&id_prefix::channel(&api, &id).await?).await?;
            webhook::print_members(&server, &data, &["accepted", "status", "error"]);
            Ok(())
        }
        Command::Deliveries(args) => {
            let api = args.server.api()?;
            let id = id_prefix::channel(&api, &args.id).await?;
            webhook::print_deliveries(&args.server, &api.channel_deliveries(&id, &args.query()).await?);
            Ok(())
        }
        Command::Replay(args) => {
            let api = args.server.api()?;
            let id = id_prefix::channel(&api, &args.id).await?;
            let data = api.replay_channel_delivery(&id, &args.delivery).await?;
            webhook::print_members(&args.server, &data, &webhook::DELIVERY_COLUMNS);
            Ok(())
        }
    }
}

async fn list(server: &ServerArgs) -> Result<(), CliError> {
    let data = server.api()?.channels().await?;
    if server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let rows = data.get("channels").and_then(Value::as_array).cloned().unwrap_or_default();
    print(table::rows(&rows, &COLUMNS, &text(&message!("cli.no_channels"))).trim_end());
    Ok(())
}

async fn change(args: ChangeArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::channel(&api, &args.id).await?;
    let mut body = settings::of(&api.channel(&id).await?);
    for (cleared, field) in
        [(args.all_repositories, "repositories"), (args.all_labels, "labels"), (args.no_quiet, "quietHours")]
    {
        if let Some(body) = body.as_object_mut().filter(|_| cleared) {
            body.remove(field);
        }
    }
    args.settings.fill(&mut body)?;
    if args.disable || args.enable {
        body["enabled"] = args.enable.into();
    }
    show(&args.server, &api.change_channel(&id, &body).await?);
    Ok(())
}

fn show(server: &ServerArgs, data: &Value) {
    webhook::print_members(server, data, &COLUMNS);
}
