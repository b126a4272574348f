//! `panda connect`: sends a repository's token or an AWS account's keys to the server, which checks them before it stores them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{id_prefix, sanitize, secret};
use crate::domain::message::message;

#[derive(Debug, Subcommand)]
pub enum ConnectCommand {
    /// Connect a GitHub repository
    Github(GithubArgs),
    /// Create a GitHub App in a browser, to connect repositories with it
    GithubApp(super::github_app::GithubAppArgs),
    /// Connect an AWS account
    Aws(AwsArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connect github --owner acme --repo shop --branch main --token-file token.txt
  gh auth token | panda connect github --owner acme --repo shop --branch main --token-file -
  PANDA_GITHUB_TOKEN=… panda connect github --owner acme --repo shop --branch main
  panda connect github --renew gh_4k1zq0v7w3m9x2c8b5n6 --token-file new.txt
  panda connect github --owner acme --repo shop --app gha_4k1zq0v7w3m9x2c8b5n6 --installation-id 98765432
  panda connect github --owner acme --repo shop --app-id 123456 --installation-id 98765432 --private-key-file app.pem

Connecting the same repository and branch again, or --renew, replaces the token of the existing connection: its id stays, and running deployments use
the new token. The token only needs read access to the repository's contents. It is never taken from the command line, which other users can see.")]
pub struct GithubArgs {
    /// GitHub account or organisation of the repository
    #[arg(long, required_unless_present = "renew")]
    owner: Option<String>,
    /// Name of the repository
    #[arg(long, required_unless_present = "renew")]
    repo: Option<String>,
    /// Branch; main when absent
    #[arg(long)]
    branch: Option<String>,
    /// Replace the token of the connection with this id, instead of creating a connection
    #[arg(long, value_name = "ID")]
    renew: Option<String>,
    /// File with the access token, - for standard input; PANDA_GITHUB_TOKEN when absent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["app", "app_id"])]
    token_file: Option<PathBuf>,
    /// Id of an App that `panda connect github-app` created, to use instead of a token
    #[arg(long, value_name = "ID", requires = "installation_id", group = "any_app")]
    app: Option<String>,
    /// Id or client id of another GitHub App to use instead of a token
    #[arg(long, value_name = "ID", requires = "installation_id", group = "any_app")]
    app_id: Option<String>,
    /// Id of the App's installation in the account of the repository
    #[arg(long, value_name = "ID", requires = "any_app")]
    installation_id: Option<u64>,
    /// File with the App's private key, - for standard input; PANDA_GITHUB_APP_KEY when absent
    #[arg(long, value_name = "FILE", requires = "app_id")]
    private_key_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… panda connect aws --region ap-northeast-2
  panda connect aws --region ap-northeast-2 --access-key-id AKIA… --secret-key-file key.txt
  panda connect aws --region ap-northeast-2 --role-arn arn:aws:iam::123456789012:role/panda
  panda connect aws --renew aws_4k1zq0v7w3m9x2c8b5n6 --access-key-id AKIA… --secret-key-file new.txt
  panda connect aws --region ap-northeast-2 --role-arn arn:aws:iam::123456789012:role/panda --create-role
  panda connect aws --region ap-northeast-2 --role-arn arn:aws:iam::123456789012:role/panda --rule-target-role-arn arn:aws:iam::123456789012:role/events

With a role no key is stored: the server assumes the role with its own credentials and an external id that it derives for your scope. The role's trust
policy must require that id; until it does, the command fails with an error that names the id. Connecting the same account, region and identity again,
or --renew, replaces the credentials of the existing connection: its id stays, and running deployments use the new credentials.")]
pub struct AwsArgs {
    /// AWS region; ignored with --renew
    #[arg(long, env = "AWS_REGION", required_unless_present = "renew")]
    region: Option<String>,
    /// Access key id of a user in the account
    #[arg(long, env = "AWS_ACCESS_KEY_ID", required_unless_present = "role_arn", value_name = "ID")]
    access_key_id: Option<String>,
    /// File with the secret access key, - for standard input; AWS_SECRET_ACCESS_KEY when absent
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// File with the session token of temporary keys; AWS_SESSION_TOKEN when absent
    #[arg(long, value_name = "FILE")]
    session_token_file: Option<PathBuf>,
    /// ARN of a role to assume instead of using keys
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Role of the account that EventBridge assumes to put events on the server's event bus; none to use the server's default
    #[arg(long, value_name = "ARN", conflicts_with = "create_role")]
    rule_target_role_arn: Option<String>,
    /// Create that role with these credentials; it is shown first
    #[arg(long)]
    create_role: bool,
    /// Create the role without asking
    #[arg(long, requires = "create_role")]
    yes: bool,
    /// Removed option: the server derives the external id.
    #[arg(long, value_name = "FILE", hide = true)]
    external_id_file: Option<PathBuf>,
    /// Replace the credentials of the connection with this id, instead of creating a connection
    #[arg(long, value_name = "ID")]
    renew: Option<String>,
    /// Restrict the account to this repository, as owner/repo, or owner/* for all of an owner; may be repeated
    #[arg(long = "only-for", value_name = "OWNER/REPO")]
    only_for: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Creates or renews the connection, and prints its id.
pub async fn run(command: ConnectCommand) -> Result<(), CliError> {
    match command {
        ConnectCommand::Github(args) => {
            let mut body = github_credential(&args)?;
            let branch = args.branch.or_else(|| args.renew.is_none().then(|| "main".to_owned()));
            for (field, value) in [("owner", args.owner), ("repo", args.repo), ("branch", branch)] {
                if let Some(value) = value {
                    body[field] = value.into();
                }
            }
            let data = send(&args.server, "github", args.renew.as_deref(), &body).await?;
            show(&data, "githubConnectionId", args.server.json);
        }
        ConnectCommand::GithubApp(args) => super::github_app::run(args).await?,
        ConnectCommand::Aws(args) => {
            let body = aws_body(&args)?;
            let data = send(&args.server, "aws", args.renew.as_deref(), &body).await?;
            show(&data, "awsConnectionId", args.server.json);
            if let Some(id) = data.get("awsConnectionId").and_then(Value::as_str).filter(|_| args.create_role) {
                super::rule_role::create(&args.server, id, args.yes).await?;
            }
            if let Some(id) = data.get("externalId").and_then(Value::as_str)
                && !args.server.json
            {
                // On standard error: scripts read only the id from standard output.
                eprintln!("{}", text(&message!("cli.external_id_required", id = sanitize::line(id))));
            }
        }
    }
    Ok(())
}

/// The credential of a request: an App, or a token.
fn github_credential(args: &GithubArgs) -> Result<Value, CliError> {
    if let Some(id) = &args.app {
        return Ok(json!({"app": {"githubAppId": id, "installationId": args.installation_id}}));
    }
    let Some(app_id) = &args.app_id else {
        let token = secret::require("--token-file", args.token_file.as_deref(), &["PANDA_GITHUB_TOKEN"])?;
        return Ok(json!({"token": token.expose_secret()}));
    };
    let key = secret::require("--private-key-file", args.private_key_file.as_deref(), &["PANDA_GITHUB_APP_KEY"])?;
    Ok(json!({"app": {"appId": app_id, "installationId": args.installation_id, "privateKey": key.expose_secret()}}))
}

async fn send(server: &ServerArgs, kind: &str, renew: Option<&str>, body: &Value) -> Result<Value, CliError> {
    let api = server.api()?;
    match renew {
        Some(id) => api.renew_connection(kind, &id_prefix::connection(&api, id).await?, body).await,
        None => api.connect(kind, body).await,
    }
}

/// Rejects a given external id: the server derives it, so the option would have no effect.
fn refuse_external_id(args: &AwsArgs) -> Result<(), CliError> {
    if args.external_id_file.is_some() {
        return Err(CliError::input("--external-id-file", message!("cli.external_id_removed")));
    }
    let given = args.role_arn.is_some() && std::env::var_os("PANDA_AWS_EXTERNAL_ID").is_some_and(|id| !id.is_empty());
    if given { Err(CliError::input("PANDA_AWS_EXTERNAL_ID", message!("cli.external_id_removed"))) } else { Ok(()) }
}

fn aws_body(args: &AwsArgs) -> Result<Value, CliError> {
    refuse_external_id(args)?;
    let mut body = json!({});
    // With --renew the connection keeps its region: AWS_REGION may be set for other reasons.
    if let Some(region) = args.region.as_deref().filter(|_| args.renew.is_none()) {
        body["region"] = region.into();
    }
    if !args.only_for.is_empty() {
        body["repositories"] = json!(args.only_for);
    }
    match args.rule_target_role_arn.as_deref() {
        None => {}
        Some("none") => body["ruleTargetRoleArn"] = Value::Null,
        Some(role) => body["ruleTargetRoleArn"] = role.into(),
    }
    if let Some(role) = &args.role_arn {
        body["roleArn"] = role.as_str().into();
        return Ok(body);
    }
    let key = secret::require("--secret-key-file", args.secret_key_file.as_deref(), &["AWS_SECRET_ACCESS_KEY"])?;
    body["accessKeyId"] = args.access_key_id.as_deref().into();
    body["secretAccessKey"] = key.expose_secret().into();
    let session = secret::read("--session-token-file", args.session_token_file.as_deref(), &["AWS_SESSION_TOKEN"])?;
    if let Some(session) = session {
        body["sessionToken"] = session.expose_secret().into();
    }
    Ok(body)
}

/// The id in a response.
pub fn member(api: &Api, data: &Value, name: &str) -> Result<String, CliError> {
    let id = data.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    id.ok_or_else(|| api.protocol(message!("cli.no_member", member = name)))
}

/// Prints only the id, so that scripts can use the output unchanged.
fn show(data: &Value, member: &str, json: bool) {
    match data.get(member).and_then(Value::as_str) {
        Some(id) if !json => print(&sanitize::line(id)),
        _ => print(&sanitize::json(data)),
    }
}
