//! `panda connections secrets`: secrets that builds of a repository may read.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::{clean, secret, table};

/// `panda connections secrets`.
#[derive(Args, Debug)]
pub struct SecretsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a build secret, in place of the one of that name
    Set(SetArgs),
    /// List the build secrets of a connection: names and times
    List(ListArgs),
    /// Remove a build secret
    Remove(RemoveArgs),
}

/// `panda connections secrets set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connections secrets set gh_… npm_token --value-file token.txt
  pass show npm | panda connections secrets set gh_… npm_token

Builds that name it (panda deploy --secret npm_token, or secrets in panda.toml) read it with RUN --mount=type=secret,id=npm_token. It is never
taken from the command line, which other users can see. White space at both ends is removed.")]
struct SetArgs {
    /// Id of the connection to the repository
    id: String,
    /// Name of the secret
    name: String,
    /// File with the value; - for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    value_file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// `panda connections secrets list`.
#[derive(Args, Debug)]
struct ListArgs {
    /// Id of the connection to the repository
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// `panda connections secrets remove`.
#[derive(Args, Debug)]
struct RemoveArgs {
    /// Id of the connection to the repository
    id: String,
    /// Name of the secret
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub async fn run(args: SecretsArgs) -> Result<(), CliError> {
    match args.command {
        Command::Set(args) => {
            let value = secret::require("--value-file", Some(Path::new(&args.value_file)), &[])?;
            tell(&args.server, &args.server.api()?.set_build_secret(&args.id, &args.name, &value).await?);
        }
        Command::List(args) => {
            let data = args.server.api()?.build_secrets(&args.id).await?;
            if args.server.json {
                say(&clean::json(&data));
                return Ok(());
            }
            let rows = data.get("secrets").and_then(Value::as_array).cloned().unwrap_or_default();
            let none = "no build secrets: see panda connections secrets set --help";
            say(table::rows(&rows, &["name", "createdAt", "updatedAt"], none).trim_end());
        }
        Command::Remove(args) => {
            tell(&args.server, &args.server.api()?.remove_build_secret(&args.id, &args.name).await?);
        }
    }
    Ok(())
}

fn tell(server: &ServerArgs, data: &Value) {
    say(if server.json { clean::json(data) } else { table::members(data, &["name"]) }.trim_end());
}
