//! `panda policy`: shows and stores what a target permits.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::bounded;
use crate::domain::message::{Message, message};

#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the policy in force, and its earlier versions
    Show(ShowArgs),
    /// Store the next version of a policy
    Set(SetArgs),
}

/// Parameters of a call, by name.
type Query = Vec<(&'static str, String)>;

/// The target of a policy.
#[derive(Args, Debug)]
struct TargetArgs {
    /// Source repository as OWNER/REPO
    repository: String,
    /// AWS account of the target; all targets of the repository without a policy when absent
    #[arg(long, requires = "region", value_parser = account)]
    account: Option<String>,
    /// AWS region of the target
    #[arg(long, requires = "account")]
    region: Option<String>,
}

#[derive(Args, Debug)]
struct ShowArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda policy set acme/shop --file policy.json

The file is a JSON object, such as
  {\"windows\": [{\"cron\": \"0 9 * * MON-FRI\", \"timeZone\": \"Asia/Seoul\", \"minutes\": 480, \"permits\": \"switches\"}],
   \"approvals\": {\"count\": 2, \"fourEyes\": true, \"minutes\": 60}}")]
struct SetArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// File with the policy as JSON
    #[arg(long)]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

impl TargetArgs {
    /// Owner, repository and query.
    fn parts(&self) -> Result<(&str, &str, Query), CliError> {
        let wrong = || CliError::input("OWNER/REPO", message!("cli.init_no_repository"));
        let (owner, repo) = self.repository.split_once('/').ok_or_else(wrong)?;
        let query = [("accountId", self.account.clone()), ("region", self.region.clone())];
        Ok((owner, repo, query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()))
    }
}

fn account(given: &str) -> Result<String, Message> {
    let is_account = given.len() == 12 && given.bytes().all(|byte| byte.is_ascii_digit());
    is_account.then(|| given.to_owned()).ok_or_else(|| message!("rule.policy_account"))
}

pub async fn run(args: PolicyArgs) -> Result<(), CliError> {
    match args.command {
        Command::Show(args) => show(&args).await,
        Command::Set(args) => set(&args).await,
    }
}

async fn show(args: &ShowArgs) -> Result<(), CliError> {
    let (owner, repo, query) = args.target.parts()?;
    let data = args.server.api()?.policy(owner, repo, &query).await?;
    if args.server.json {
        print(&sanitize::json(&data));
        return Ok(());
    }
    let versions = data.get("versions").and_then(Value::as_array).cloned().unwrap_or_default();
    match versions.split_first() {
        None => print(&text(&message!("cli.no_policy"))),
        Some((newest, earlier)) => {
            print(table::members(newest, &["version"]).trim_end());
            if !earlier.is_empty() {
                let columns = ["version", "createdAt", "createdBy"];
                print(&format!("\n{}", table::rows(earlier, &columns, "").trim_end()));
            }
        }
    }
    Ok(())
}

async fn set(args: &SetArgs) -> Result<(), CliError> {
    let (owner, repo, query) = args.target.parts()?;
    let unreadable =
        |error: String| CliError::input("--file", Message::verbatim(format!("{}: {error}", args.file.display())));
    let bytes = bounded::file(&args.file).map_err(|error| unreadable(error.to_string()))?;
    let body: Value = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let data = args.server.api()?.set_policy(owner, repo, &query, &body).await?;
    print(if args.server.json { sanitize::json(&data) } else { table::members(&data, &["version"]) }.trim_end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_target() {
        let target = |account: Option<&str>| TargetArgs {
            repository: "acme/shop".to_owned(),
            account: account.map(str::to_owned),
            region: account.map(|_| "eu-west-1".to_owned()),
        };
        assert_eq!(target(None).parts().unwrap(), ("acme", "shop", vec![]));
        let query = vec![("accountId", "123456789012".to_owned()), ("region", "eu-west-1".to_owned())];
        assert_eq!(target(Some("123456789012")).parts().unwrap(), ("acme", "shop", query));
        assert!(TargetArgs { repository: "acme".to_owned(), account: None, region: None }.parts().is_err());
    }
}
