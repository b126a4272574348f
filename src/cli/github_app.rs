//! `panda connect github-app`: Apps that GitHub creates from Panda's manifest, in a browser.

use std::time::Duration;

use clap::Args;
use reqwest::Url;
use serde_json::Value;

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::domain::message::message;

/// Time between two looks at the list.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Columns of the list.
const COLUMNS: [&str; 6] = ["githubAppId", "status", "name", "organization", "madeBy", "installationAddress"];

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connect github-app --organization acme
  panda connect github --app gha_4k1zq0v7w3m9x2c8b5n6 --installation-id 98765432 --owner acme --repo shop
  panda connect github-app --list
  panda connect github-app --remove gha_4k1zq0v7w3m9x2c8b5n6

GitHub creates an App in a browser: the command prints the address of the page that does it, and waits until the App's key is stored. Its id is the
output. The number at the end of the address of its installation is the installation's id.")]
pub struct GithubAppArgs {
    /// Organisation that will own the App; your account at GitHub when absent
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// List the Apps instead, the oldest first
    #[arg(long, conflicts_with_all = ["organization", "remove"])]
    list: bool,
    /// Remove the App with this id from Panda instead; it stays at GitHub
    #[arg(long, value_name = "ID", conflicts_with = "organization")]
    remove: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Waits for a new App and prints its id, lists Apps, or removes one.
pub async fn run(args: GithubAppArgs) -> Result<(), CliError> {
    let (api, json) = (args.server.api()?, args.server.json);
    if let Some(id) = &args.remove {
        let removed = api.delete_github_app(id).await?;
        print(&if json { sanitize::json(&removed) } else { table::members(&removed, &COLUMNS) });
        return Ok(());
    }
    let data = api.github_apps().await?;
    if args.list {
        let none = text(&message!("cli.no_github_apps"));
        print(&if json { sanitize::json(&data) } else { table::rows(&apps(&data), &COLUMNS, &none) });
        return Ok(());
    }
    let page = data.get("pageAddress").and_then(Value::as_str).and_then(|page| Url::parse(page).ok());
    let mut page = page.ok_or_else(|| CliError::input("--server", message!("cli.no_page_address")))?;
    if let Some(organization) = &args.organization {
        page.query_pairs_mut().append_pair("organization", organization);
    }
    // On standard error: scripts read only the id from standard output.
    eprintln!("{}", text(&message!("cli.open_github_app", address = sanitize::line(page.as_str()))));
    let app = wait(&api, &ids(&data)).await?;
    if json {
        print(&sanitize::json(&app));
        return Ok(());
    }
    print(&sanitize::line(app["githubAppId"].as_str().unwrap_or_default()));
    let address = sanitize::line(app["installationAddress"].as_str().unwrap_or_default());
    eprintln!("{}", text(&message!("cli.install_github_app", address)));
    Ok(())
}

/// Waits, without a time limit, for an App that is not among `known`.
async fn wait(api: &Api, known: &[String]) -> Result<Value, CliError> {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let data = api.github_apps().await?;
        let is_new = |app: &Value| !known.iter().any(|id| app["githubAppId"] == **id) && app["status"] == "created";
        if let Some(app) = apps(&data).into_iter().find(is_new) {
            return Ok(app);
        }
    }
}

fn apps(data: &Value) -> Vec<Value> {
    data.get("apps").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Ids of Apps that exist. One that is being created may still become usable.
fn ids(data: &Value) -> Vec<String> {
    let created = apps(data).into_iter().filter(|app| app["status"] == "created");
    created.filter_map(|app| app["githubAppId"].as_str().map(str::to_owned)).collect()
}
