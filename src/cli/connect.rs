//! `panda connect`: hands a repository's token or an account's keys to the server, which checks them first.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::{clean, secret};

/// `panda connect`.
#[derive(Debug, Subcommand)]
pub enum ConnectCommand {
    /// Connect a GitHub repository
    Github(GithubArgs),
    /// Connect an AWS account
    Aws(AwsArgs),
}

/// `panda connect github`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connect github --owner acme --repo shop --branch main --token-file token.txt
  gh auth token | panda connect github --owner acme --repo shop --branch main --token-file -
  PANDA_GITHUB_TOKEN=… panda connect github --owner acme --repo shop --branch main

The token needs to read the repository's contents and nothing else. It is never taken from the command line, which other users can see.")]
pub struct GithubArgs {
    /// Account or organisation
    #[arg(long)]
    owner: String,
    /// Repository
    #[arg(long)]
    repo: String,
    /// Branch
    #[arg(long, default_value = "main")]
    branch: String,
    /// File with the access token, - for standard input; PANDA_GITHUB_TOKEN when absent
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// `panda connect aws`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… panda connect aws --region ap-northeast-2
  panda connect aws --region ap-northeast-2 --access-key-id AKIA… --secret-key-file key.txt
  panda connect aws --region ap-northeast-2 --role-arn arn:aws:iam::123456789012:role/panda

With a role no key is stored: the server assumes it with its own credentials.")]
pub struct AwsArgs {
    /// AWS region
    #[arg(long, env = "AWS_REGION")]
    region: String,
    /// Access key id
    #[arg(long, env = "AWS_ACCESS_KEY_ID", required_unless_present = "role_arn", value_name = "ID")]
    access_key_id: Option<String>,
    /// File with the secret access key, - for standard input; AWS_SECRET_ACCESS_KEY when absent
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// File with the session token of temporary keys; AWS_SESSION_TOKEN when absent
    #[arg(long, value_name = "FILE")]
    session_token_file: Option<PathBuf>,
    /// A role to assume instead of keys
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// File with the external id that the role asks for; PANDA_AWS_EXTERNAL_ID when absent
    #[arg(long, value_name = "FILE", requires = "role_arn")]
    external_id_file: Option<PathBuf>,
    /// Only for this repository, as owner/repo, or owner/* for all of an owner; may be given again
    #[arg(long = "only-for", value_name = "OWNER/REPO")]
    only_for: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Connects and shows the new connection's id.
pub async fn run(command: ConnectCommand) -> Result<(), CliError> {
    match command {
        ConnectCommand::Github(args) => {
            let token = secret::require("--token-file", args.token_file.as_deref(), &["PANDA_GITHUB_TOKEN"])?;
            let body = json!({
                "owner": args.owner, "repo": args.repo, "branch": args.branch, "token": token.expose_secret(),
            });
            let data = args.server.api()?.connect("github", &body).await?;
            show(&data, "githubConnectionId", args.server.json);
        }
        ConnectCommand::Aws(args) => {
            let body = aws_body(&args)?;
            let data = args.server.api()?.connect("aws", &body).await?;
            show(&data, "awsConnectionId", args.server.json);
        }
    }
    Ok(())
}

fn aws_body(args: &AwsArgs) -> Result<Value, CliError> {
    let mut body = json!({"region": args.region});
    if !args.only_for.is_empty() {
        body["repositories"] = json!(args.only_for);
    }
    if let Some(role) = &args.role_arn {
        body["roleArn"] = role.as_str().into();
        let external =
            secret::read("--external-id-file", args.external_id_file.as_deref(), &["PANDA_AWS_EXTERNAL_ID"])?;
        if let Some(external) = external {
            body["externalId"] = external.expose_secret().into();
        }
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

/// The id alone, so that a script can take it as it is.
fn show(data: &Value, member: &str, json: bool) {
    match data.get(member).and_then(Value::as_str) {
        Some(id) if !json => say(&clean::line(id)),
        _ => say(&clean::json(data)),
    }
}
