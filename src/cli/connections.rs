//! `panda connections`: what is connected, and an end of it.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::ServerArgs;
use super::build_secrets::SecretsArgs;
use super::error::CliError;
use super::progress::say;
use super::{clean, table};

/// `panda connections`.
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
    /// Remove a connection: its secrets are erased, and nothing can be deployed with it any more
    Remove(RemoveArgs),
    /// Secrets of a connection to GitHub that builds may read
    Secrets(SecretsArgs),
}

/// `panda connections remove`.
#[derive(Args, Debug)]
struct RemoveArgs {
    /// The connection's id
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows both kinds, or removes one.
pub async fn run(args: ConnectionsArgs) -> Result<(), CliError> {
    match args.command {
        Some(Command::Remove(args)) => remove(&args).await,
        Some(Command::Secrets(args)) => super::build_secrets::run(args).await,
        None => list(&args.server).await,
    }
}

async fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let data = args.server.api()?.remove_connection(&args.id).await?;
    say(if args.server.json { clean::json(&data) } else { table::members(&data, &["connectionId"]) }.trim_end());
    Ok(())
}

async fn list(server: &ServerArgs) -> Result<(), CliError> {
    let (_, data) = server.api()?.connections().await?;
    if server.json {
        say(&clean::json(&data));
        return Ok(());
    }
    let list = |kind: &str| data.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let github = ["connectionId", "owner", "repo", "branch"];
    say("Source repositories");
    say(&table::rows(&list("github"), &github, "none: see panda connect github --help"));
    say("AWS accounts");
    let aws = list("aws");
    say(table::rows(&aws, &["connectionId", "region"], "none: see panda connect aws --help").trim_end());
    for problem in aws.iter().filter_map(|one| one.get("problem")?.as_str()) {
        say(&format!("\n{}", clean::line(problem)));
    }
    Ok(())
}
