//! `panda connections`: what is connected.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::{clean, table};

/// `panda connections`.
#[derive(Args, Debug)]
pub struct ConnectionsArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows both kinds.
pub async fn run(args: ConnectionsArgs) -> Result<(), CliError> {
    let (_, data) = args.server.api()?.connections().await?;
    if args.server.json {
        say(&clean::json(&data));
        return Ok(());
    }
    let list = |kind: &str| data.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let github = ["connectionId", "owner", "repo", "branch"];
    say("Source repositories");
    say(&table::rows(&list("github"), &github, "none: see panda connect github --help"));
    say("AWS accounts");
    say(table::rows(&list("aws"), &["connectionId", "region"], "none: see panda connect aws --help").trim_end());
    Ok(())
}
