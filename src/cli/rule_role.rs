//! Creates the role that EventBridge assumes for the rules of a connected AWS account: shows it, asks, and has the server create it.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use clap::Args;
use serde_json::Value;

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::sanitize;
use crate::domain::message::message;

/// Longest answer to the question, in bytes.
const MAX_ANSWER: u64 = 100;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connections create-role aws_4k1zq0v7w3m9x2c8b5n6
  panda connections create-role aws_4k1zq0v7w3m9x2c8b5n6 --yes

EventBridge needs a role to send push events to an event bus of another account or region. The server creates it with the connection's credentials, which
need iam:GetRole, iam:CreateRole, iam:GetRolePolicy and iam:PutRolePolicy for it. A role of that name with another content is not overwritten.")]
pub struct CreateRoleArgs {
    /// Id of the AWS connection
    id: String,
    /// Create the role without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Creates the role of a connection, and prints its ARN.
pub async fn run(args: &CreateRoleArgs) -> Result<(), CliError> {
    let data = create(&args.server.api()?, &args.id, args.yes).await?;
    match data.get("roleArn").and_then(Value::as_str) {
        Some(arn) if !args.server.json => print(&sanitize::line(arn)),
        _ => print(&sanitize::json(&data)),
    }
    Ok(())
}

/// Shows the role, asks unless `yes`, and creates it. A role that is there already needs no confirmation.
pub async fn create(api: &Api, id: &str, yes: bool) -> Result<Value, CliError> {
    let planned = api.rule_role(id).await?;
    let member = |name: &str| planned.get(name).map(sanitize::json).unwrap_or_default();
    let plain = |name: &str| sanitize::line(planned.get(name).and_then(Value::as_str).unwrap_or_default());
    if plain("state") != "present" {
        // On standard error: scripts read only the id or the ARN from standard output.
        let (role, policy_name) = (plain("roleArn"), plain("policyName"));
        let (trust, policy) = (member("trustPolicy"), member("policy"));
        eprintln!("{}", text(&message!("cli.role_planned", role, trust, policy_name, policy)));
        if !yes && !confirmed()? {
            return Err(CliError::input("--create-role", message!("cli.role_declined", id)));
        }
    }
    api.create_rule_role(id).await
}

fn confirmed() -> Result<bool, CliError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::input("--yes", message!("cli.role_unconfirmed")));
    }
    eprint!("{} ", text(&message!("cli.role_question")));
    let mut answer = String::new();
    #[expect(clippy::disallowed_methods, reason = "take limits the line")]
    let read = stdin.lock().take(MAX_ANSWER).read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "예"))
}
