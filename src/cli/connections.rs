//! `panda connections`: lists and removes connections.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::ServerArgs;
use super::build_secrets::SecretsArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::rule_role::CreateRoleArgs;
use super::{id_prefix, sanitize, table};
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConnectionsArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove a connection and erase its secrets; it can no longer be used to deploy
    Remove(RemoveArgs),
    /// Create the role that EventBridge assumes for the rules of an AWS connection
    CreateRole(CreateRoleArgs),
    /// Manage the secrets of a GitHub connection that builds may read
    Secrets(SecretsArgs),
}

#[derive(Args, Debug)]
struct RemoveArgs {
    /// Id of the connection, or its beginning
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Lists both kinds of connections, or runs the subcommand.
pub async fn run(args: ConnectionsArgs) -> Result<(), CliError> {
    match args.command {
        Some(Command::Remove(args)) => remove(&args).await,
        Some(Command::CreateRole(args)) => super::rule_role::run(&args).await,
        Some(Command::Secrets(args)) => super::build_secrets::run(args).await,
        None => list(&args.server).await,
    }
}

async fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let data = api.remove_connection(&id_prefix::connection(&api, &args.id).await?).await?;
    print(if args.server.json { sanitize::json(&data) } else { table::members(&data, &["connectionId"]) }.trim_end());
    Ok(())
}

async fn list(server: &ServerArgs) -> Result<(), CliError> {
    let (_, data) = server.api()?.connections().await?;
    if server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let list = |kind: &str| data.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let github = ["connectionId", "owner", "repo", "branch"];
    print(&text(&message!("cli.repositories")));
    print(&table::rows(&list("github"), &github, &text(&message!("cli.no_repositories"))));
    print(&text(&message!("cli.accounts")));
    let aws = list("aws");
    print(
        table::rows(&aws, &["connectionId", "region", "ruleTargetRoleArn"], &text(&message!("cli.no_accounts")))
            .trim_end(),
    );
    Ok(())
}
