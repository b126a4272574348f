//! `panda connections secrets`: manages the secrets that builds of a repository may read.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{id_prefix, sanitize, secret, table};
use crate::domain::message::message;

#[derive(Args, Debug)]
pub struct SecretsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a build secret; replaces an existing one of the same name
    Set(SetArgs),
    /// List the names and times of a connection's build secrets
    List(ListArgs),
    /// Remove a build secret
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connections secrets set gh_… npm_token --value-file token.txt
  pass show npm | panda connections secrets set gh_… npm_token

Builds that name the secret (panda deploy --secret npm_token, or secrets in panda.toml) read it with RUN --mount=type=secret,id=npm_token. The
value is never taken from the command line, which other users can see. White space at both ends is removed.")]
struct SetArgs {
    /// Id of the connection to the repository, or its beginning
    id: String,
    /// Name of the secret
    name: String,
    /// File with the value, - for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    value_file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Id of the connection to the repository, or its beginning
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct RemoveArgs {
    /// Id of the connection to the repository, or its beginning
    id: String,
    /// Name of the secret
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: SecretsArgs) -> Result<(), CliError> {
    match args.command {
        Command::Set(args) => {
            let value = secret::require("--value-file", Some(Path::new(&args.value_file)), &[])?;
            let api = args.server.api()?;
            let id = id_prefix::connection(&api, &args.id).await?;
            show(&args.server, &api.set_build_secret(&id, &args.name, &value).await?);
        }
        Command::List(args) => {
            let api = args.server.api()?;
            let data = api.build_secrets(&id_prefix::connection(&api, &args.id).await?).await?;
            if args.server.json {
                print(&sanitize::json(&data));
                return Ok(());
            }
            let rows = data.get("secrets").and_then(Value::as_array).cloned().unwrap_or_default();
            let none = text(&message!("cli.no_build_secrets"));
            print(table::rows(&rows, &["name", "createdAt", "updatedAt"], &none).trim_end());
        }
        Command::Remove(args) => {
            let api = args.server.api()?;
            let id = id_prefix::connection(&api, &args.id).await?;
            show(&args.server, &api.remove_build_secret(&id, &args.name).await?);
        }
    }
    Ok(())
}

fn show(server: &ServerArgs, data: &Value) {
    print(if server.json { sanitize::json(data) } else { table::members(data, &["name"]) }.trim_end());
}
