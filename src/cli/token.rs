//! `panda token`: manages API tokens. Works directly on the database, because the API cannot create the first token.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::database::locate_command;
use super::error::CliError;
use super::lang::text;
use super::operator;
use super::progress::{print, warn};
use super::{sanitize, table};
use crate::app;
use crate::commands::CommandError;
use crate::commands::revocations::{restore_subject, revoke_subject};
use crate::commands::tokens::{TokenRevocation, create_token, revoke_token};
use crate::config::DatabaseConfig;
use crate::db::Db;
use crate::db::tokens::{NewToken, TokenView};
use crate::domain::message::{Message, Param, message};
use crate::domain::principal::{self, Role, Scope};
use crate::domain::{ids, oidc_claims, token};

#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a token and print it; it cannot be shown again
    Create(CreateArgs),
    /// List all tokens, revoked ones included
    List(ListArgs),
    /// Revoke a token, or all tokens of an OpenID Connect subject; servers reject them and end their event streams within five seconds
    Revoke(RevokeArgs),
    /// List revoked subjects, newest first
    Revoked(ListArgs),
    /// Restore a revoked subject; its schedules stay stopped until they are taken over
    Restore(RestoreArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Roles, each of which includes those above it:
  viewer     reads
  deployer   connects, deploys, cancels and retries
  approver   switches the traffic; cancels and retries deployments during the switch
  admin      reads the audit log

Examples:
  panda token create --name alice --role admin --expires 90d
  panda token create --name ci-shop --role deployer --owner acme --repo shop --expires 365d > token.txt
  panda token create --name dashboard --role viewer --owner acme

The token is a secret. Only its hash is stored, so it cannot be shown again.")]
struct CreateArgs {
    /// Name of the token's user or program
    #[arg(long, value_parser = name)]
    name: String,
    /// Role: viewer, deployer, approver or admin
    #[arg(long)]
    role: Role,
    /// Restrict the token to repositories of this account or organisation; may be repeated
    #[arg(long)]
    owner: Vec<String>,
    /// Restrict the token to this repository of the one --owner; may be repeated
    #[arg(long, requires = "owner")]
    repo: Vec<String>,
    /// Expiry: a duration such as 12h or 90d, or a time such as 2027-01-31T00:00:00Z; never when absent
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<DateTime<Utc>>,
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda token revoke tok_4k1zq0v7w3m9x2c8b5n6
  panda token revoke --issuer https://token.actions.githubusercontent.com --subject repo:acme/shop:ref:refs/heads/main

Schedules owned by the token or subject stop, and its queued deployments are cancelled; started deployments continue. An API token stays revoked; a
subject can be restored.")]
struct RevokeArgs {
    /// Id of the token, as `panda token list` shows it
    #[arg(required_unless_present = "issuer", conflicts_with_all = ["issuer", "subject", "reason"])]
    id: Option<String>,
    /// Issuer, exactly as its tokens name it in iss
    #[arg(long, requires = "subject", value_parser = issuer)]
    issuer: Option<String>,
    /// Subject, exactly as its tokens name it in sub
    #[arg(long, requires = "issuer", value_parser = subject)]
    subject: Option<String>,
    /// Reason, recorded with the revocation
    #[arg(long, requires = "issuer", value_parser = reason)]
    reason: Option<String>,
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
}

#[derive(Args, Debug)]
struct RestoreArgs {
    /// Id of the revocation, as `panda token revoked` shows it
    id: String,
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
}

pub async fn run(args: TokenArgs) -> Result<(), CliError> {
    let (Command::Create(CreateArgs { database, .. })
    | Command::List(ListArgs { database, .. })
    | Command::Revoke(RevokeArgs { database, .. })
    | Command::Revoked(ListArgs { database, .. })
    | Command::Restore(RestoreArgs { database, .. })) = &args.command;
    let database = database.clone();
    let result = match args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
        Command::Revoked(args) => revoked(args).await,
        Command::Restore(args) => restore(args).await,
    };
    result.map_err(|error| locate_command(error, &database))
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let scope = scope(&args.owner, &args.repo)?;
    let secret = token::api_token().map_err(|error| CliError::input("token", Message::verbatim(error.to_string())))?;
    let new = NewToken { id: ids::token_id(), name: args.name, role: args.role, scope, expires_at: args.expires };
    create_token(&database(&args.database).await?, &new, &token::hash(&secret), &operator()).await?;
    let ends = new.expires_at.map_or_else(|| message!("cli.never").into(), |at| Param::from(time(at)));
    if args.json {
        let shown = json!({"id": new.id, "name": new.name, "role": new.role, "repositories": new.scope.sql(),
                           "expiresAt": new.expires_at, "token": secret.expose_secret()});
        print(&sanitize::json(&shown));
    } else {
        // Only the token goes to standard output, so that scripts can use the output unchanged.
        let (id, name, role) = (&new.id, &new.name, new.role.as_str());
        warn(&text(&message!("cli.token_created", id, name, role, repositories = new.scope.to_string(), ends)));
        print(secret.expose_secret());
    }
    Ok(())
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let tokens: Vec<Value> = database(&args.database).await?.tokens().await?.into_iter().map(row).collect();
    if args.json {
        print(&sanitize::json(&Value::Array(tokens)));
    } else {
        let columns = ["id", "name", "role", "repositories", "createdAt", "expiresAt", "revokedAt"];
        print(table::rows(&tokens, &columns, &text(&message!("cli.no_tokens"))).trim_end());
    }
    Ok(())
}

async fn revoke(args: RevokeArgs) -> Result<(), CliError> {
    let database = database(&args.database).await?;
    if let (Some(issuer), Some(subject)) = (&args.issuer, &args.subject) {
        let revoked =
            revoke_subject(&database, (issuer, subject), args.reason.as_deref(), &operator()).await.map_err(refused)?;
        if args.json {
            let (id, schedules, deployments) = (&revoked.revocation.id, &revoked.schedules, &revoked.deployments);
            print(&sanitize::json(
                &json!({"id": id, "schedulesStopped": schedules, "deploymentsCancelled": deployments}),
            ));
            return Ok(());
        }
        print(&text(&message!("cli.subject_revoked", id = &revoked.revocation.id)));
        if !revoked.schedules.is_empty() {
            print(&text(&message!("cli.schedules_stopped", ids = revoked.schedules.join(", "))));
        }
        if !revoked.deployments.is_empty() {
            print(&text(&message!("cli.deployments_cancelled", ids = revoked.deployments.join(", "))));
        }
        return Ok(());
    }
    let id = args.id.unwrap_or_default();
    let (message, before) = match revoke_token(&database, &id, &operator()).await? {
        TokenRevocation::Now => (message!("cli.token_revoked"), false),
        TokenRevocation::Before => (message!("cli.token_already_revoked"), true),
        TokenRevocation::Unknown => {
            return Err(CliError::input("id", message!("cli.unknown_token")));
        }
    };
    print(&if args.json { sanitize::json(&json!({"id": id, "alreadyRevoked": before})) } else { text(&message) });
    Ok(())
}

async fn revoked(args: ListArgs) -> Result<(), CliError> {
    let rows = database(&args.database).await?.revocations(None, i64::from(u16::MAX)).await?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({"id": row.id, "issuer": row.issuer, "subject": row.subject, "reason": row.reason, "revokedBy": row.revoked_by,
                   "revokedAt": time(row.revoked_at)})
        })
        .collect();
    if args.json {
        print(&sanitize::json(&Value::Array(rows)));
    } else {
        let columns = ["id", "issuer", "subject", "reason", "revokedBy", "revokedAt"];
        print(table::rows(&rows, &columns, &text(&message!("cli.no_revocations"))).trim_end());
    }
    Ok(())
}

async fn restore(args: RestoreArgs) -> Result<(), CliError> {
    let lifted = restore_subject(&database(&args.database).await?, &args.id, &operator()).await.map_err(refused)?;
    if args.json {
        print(&sanitize::json(&json!({"issuer": lifted.issuer, "subject": lifted.subject})));
        return Ok(());
    }
    let subject = sanitize::line(&lifted.subject);
    print(&text(&message!("cli.subject_restored", subject, issuer = &lifted.issuer)));
    Ok(())
}

/// An operator has every role and all repositories, so that only the database and the given id can refuse a command.
fn refused(error: CommandError) -> CliError {
    match error {
        CommandError::Database(error) => error.into(),
        CommandError::Revocation(_) => CliError::input("id", message!("cli.unknown_revocation")),
        other => CliError::input("token", Message::verbatim(other.to_string())),
    }
}

fn row(token: TokenView) -> Value {
    json!({
        "id": token.id, "name": token.name, "role": token.role, "repositories": Scope::from_sql(token.scope).to_string(),
        "createdAt": time(token.created_at), "expiresAt": token.expires_at.map(time), "revokedAt": token.revoked_at.map(time),
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Opens the database without keys: tokens are hashed, not encrypted.
async fn database(config: &DatabaseConfig) -> Result<Db, CliError> {
    Ok(app::command_database(config, None).await?)
}

fn scope(owners: &[String], repos: &[String]) -> Result<Scope, CliError> {
    let names: Vec<String> = match (owners, repos) {
        ([], _) => return Ok(Scope::All),
        ([owner], [_, ..]) => repos.iter().map(|repo| format!("{owner}/{repo}")).collect(),
        (_, []) => owners.iter().map(|owner| format!("{owner}/*")).collect(),
        _ => return Err(CliError::input("--repo", message!("cli.one_owner"))),
    };
    Scope::of(&names).map_err(|problem| CliError::input("--owner, --repo", problem))
}

fn name(text: &str) -> Result<String, String> {
    principal::token_name(text).map(|()| text.to_owned()).map_err(|rule| rule.to_string())
}

fn issuer(text: &str) -> Result<String, String> {
    let wrong = || "give an https URL, exactly as in the tokens' iss".to_owned();
    oidc_claims::is_issuer(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn subject(text: &str) -> Result<String, String> {
    let wrong = || "give 1 to 255 characters without control characters, exactly as in the tokens' sub".to_owned();
    oidc_claims::is_subject(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn reason(text: &str) -> Result<String, String> {
    let fits = (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| "give 1 to 500 characters without control characters".to_owned())
}

/// Parses a future time, or a duration from now.
pub(super) fn expiry(text: &str) -> Result<DateTime<Utc>, String> {
    let now = Utc::now();
    let after = |text: &str| -> Option<DateTime<Utc>> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: i64 = number.parse().ok().filter(|number| *number > 0)?;
        let hours = match unit {
            "h" => number,
            "d" => number.checked_mul(24)?,
            _ => return None,
        };
        now.checked_add_signed(TimeDelta::try_hours(hours)?)
    };
    let at = after(text).or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()));
    match at {
        Some(at) if at > now => Ok(at),
        Some(_) => Err("the time is in the past".to_owned()),
        None => Err("give a duration such as 12h or 90d, or a time such as 2027-01-31T00:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn rejects_names_of_schedules() {
        name("ci@acme:shop/main").unwrap();
        assert!(name("schedule:sch_1").unwrap_err().contains("schedule:"));
        assert!(name("a b").is_err() && name("").is_err());
    }

    #[test]
    fn builds_the_scope_from_owner_and_repo() {
        assert_eq!(scope(&[], &[]).unwrap(), Scope::All);
        assert_eq!(scope(&names(&["Acme"]), &[]).unwrap().to_string(), "acme/*");
        assert_eq!(scope(&names(&["acme"]), &names(&["a", "b"])).unwrap().to_string(), "acme/a, acme/b");
        assert!(scope(&names(&["a", "b"]), &names(&["c"])).is_err());
        assert!(scope(&names(&["a b"]), &[]).unwrap_err().to_string().contains("--owner"));
    }

    #[test]
    fn accepts_durations_and_future_times() {
        let in_days = |text| (expiry(text).unwrap() - Utc::now()).num_hours();
        assert!((2159..=2160).contains(&in_days("90d")) && (11..=12).contains(&in_days("12h")));
        expiry("2999-01-31T00:00:00Z").unwrap();
        for wrong in ["", "d", "0d", "-1d", "90", "90w", "2001-01-31T00:00:00Z", "99999999999999999d", "é"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
