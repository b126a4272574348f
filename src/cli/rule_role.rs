//! Creates the role that EventBridge assumes for the rules of a connected AWS account: shows it, asks, and has the server create it.

use clap::Args;
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::next_command::next_command;
use super::progress::print;
use super::{id_prefix, prompt, sanitize};
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda connections create-role aws_4k1zq0v7w3m9x2c8b5n6
  panda connections create-role aws_4k1zq0v7w3m9x2c8b5n6 --yes

EventBridge needs a role to send push events to an event bus of another account or region. The server creates it with the connection's credentials, which
need iam:GetRole, iam:CreateRole, iam:GetRolePolicy and iam:PutRolePolicy for it. A role of that name with another content is not overwritten.")]
pub struct CreateRoleArgs {
    /// Id of the AWS connection, or its beginning
    id: String,
    /// Create the role without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Creates the role of a connection, and prints its ARN.
pub async fn run(args: &CreateRoleArgs) -> Result<(), CliError> {
    let data = create(&args.server, &args.id, args.yes).await?;
    match data.get("roleArn").and_then(Value::as_str) {
        Some(arn) if !args.server.json => print(&sanitize::line(arn)),
        _ => print(&sanitize::json(&data)),
    }
    Ok(())
}

/// Shows the role, asks unless `yes`, and creates it. A role that is there already needs no confirmation.
pub async fn create(server: &ServerArgs, id: &str, yes: bool) -> Result<Value, CliError> {
    let api = server.api()?;
    let id = &id_prefix::connection(&api, id).await?;
    let planned = api.rule_role(id).await?;
    let member = |name: &str| planned.get(name).map(sanitize::json).unwrap_or_default();
    let plain = |name: &str| sanitize::line(planned.get(name).and_then(Value::as_str).unwrap_or_default());
    if plain("state") != "present" {
        // On standard error: scripts read only the id or the ARN from standard output.
        let (role, policy_name) = (plain("roleArn"), plain("policyName"));
        let (trust, policy) = (member("trustPolicy"), member("policy"));
        eprintln!("{}", text(&message!("cli.role_planned", role, trust, policy_name, policy)));
        if !yes && !prompt::is_possible() {
            return Err(CliError::input("--yes", message!("cli.role_unconfirmed")));
        }
        if !yes && !prompt::confirm(&message!("cli.role_question"), false)? {
            let command = next_command(&format!("connections create-role {}", sanitize::line(id)), server);
            return Err(CliError::input("--create-role", message!("cli.role_declined", command)));
        }
    }
    api.create_rule_role(id).await
}
