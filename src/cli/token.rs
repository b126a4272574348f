//! `panda token`: the tokens with which the API is used. It works on the database itself: the first one has to come from somewhere.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::error::CliError;
use super::operator;
use super::progress::{say, warn};
use super::{clean, table};
use crate::app;
use crate::config::DatabaseConfig;
use crate::db::Db;
use crate::db::tokens::{NewToken, Revoked, TokenView};
use crate::domain::principal::{Role, SCHEDULE_SUBJECT, Scope};
use crate::domain::{claims, ids, token};

/// Longest name of a token, in characters.
const MAX_NAME: usize = 100;

/// `panda token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it, this once
    Create(CreateArgs),
    /// List the tokens
    List(ListArgs),
    /// Revoke a token, or all tokens of a subject of an OpenID Connect issuer: servers refuse them, and end their event streams, within five seconds
    Revoke(RevokeArgs),
    /// List the subjects that are revoked, newest first
    Revoked(ListArgs),
    /// Accept a revoked subject again; its schedules stay stopped until they are taken over
    Restore(RestoreArgs),
}

/// `panda token create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Roles, each of which may what those before it may:
  viewer     reads
  deployer   connects, deploys, cancels and retries
  approver   switches the traffic; cancels and retries what is being switched
  admin      reads the audit, too

Examples:
  panda token create --name alice --role admin --expires 90d
  panda token create --name ci-shop --role deployer --owner acme --repo shop --expires 365d > token.txt
  panda token create --name dashboard --role viewer --owner acme

It is a secret: hand it on as one. Only its hash is stored, so it cannot be shown again.")]
struct CreateArgs {
    /// Who gets it: a person or a program
    #[arg(long, value_parser = name)]
    name: String,
    /// What it may: viewer, deployer, approver or admin
    #[arg(long)]
    role: Role,
    /// Only for repositories of this account or organisation; may be given again
    #[arg(long)]
    owner: Vec<String>,
    /// Only for this repository of the one owner; may be given again
    #[arg(long, requires = "owner")]
    repo: Vec<String>,
    /// When it ends: after a time such as 12h or 90d, or at 2027-01-31T00:00:00Z; never when absent
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<DateTime<Utc>>,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
}

/// `panda token list`.
#[derive(Args, Debug)]
struct ListArgs {
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
}

/// `panda token revoke`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda token revoke tok_4k1zq0v7w3m9x2c8b5n6
  panda token revoke --issuer https://token.actions.githubusercontent.com --subject repo:acme/shop:ref:refs/heads/main

The schedules that belong to it stop, and its deployments that wait for their turn are cancelled; those that have begun continue. An API token stays
revoked; a subject can be restored.")]
struct RevokeArgs {
    /// The token's id, as `panda token list` shows it
    #[arg(required_unless_present = "issuer", conflicts_with_all = ["issuer", "subject", "reason"])]
    id: Option<String>,
    /// The issuer, exactly as its tokens name it in iss
    #[arg(long, requires = "subject", value_parser = issuer)]
    issuer: Option<String>,
    /// The subject, exactly as its tokens name it in sub
    #[arg(long, requires = "issuer", value_parser = subject)]
    subject: Option<String>,
    /// Why, for those who look at it later
    #[arg(long, requires = "issuer", value_parser = reason)]
    reason: Option<String>,
    #[command(flatten)]
    database: DatabaseConfig,
}

/// `panda token restore`.
#[derive(Args, Debug)]
struct RestoreArgs {
    /// The revocation's id, as `panda token revoked` shows it
    id: String,
    #[command(flatten)]
    database: DatabaseConfig,
}

/// Runs it.
pub async fn run(args: TokenArgs) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
        Command::Revoked(args) => revoked(args).await,
        Command::Restore(args) => restore(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let scope = scope(&args.owner, &args.repo)?;
    let secret = token::api_token().map_err(|error| CliError::input("token", error.to_string()))?;
    let new = NewToken { id: ids::token_id(), name: args.name, role: args.role, scope, expires_at: args.expires };
    database(&args.database).await?.insert_token(&new, &token::hash(&secret), &operator()).await?;
    let ends = new.expires_at.map_or_else(|| "never".to_owned(), time);
    if args.json {
        let shown = json!({"id": new.id, "name": new.name, "role": new.role, "repositories": new.scope.sql(),
                           "expiresAt": new.expires_at, "token": secret.expose_secret()});
        say(&clean::json(&shown));
    } else {
        // The token alone on standard output, so that a script can take it as it is.
        warn(&format!(
            "{} for {}: {}, repositories {}, ends {ends}. It is not shown again.",
            new.id, new.name, new.role, new.scope
        ));
        say(secret.expose_secret());
    }
    Ok(())
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let tokens: Vec<Value> = database(&args.database).await?.tokens().await?.into_iter().map(row).collect();
    if args.json {
        say(&clean::json(&Value::Array(tokens)));
    } else {
        let columns = ["id", "name", "role", "repositories", "createdAt", "expiresAt", "revokedAt"];
        say(table::rows(&tokens, &columns, "none: see panda token create --help").trim_end());
    }
    Ok(())
}

async fn revoke(args: RevokeArgs) -> Result<(), CliError> {
    let database = database(&args.database).await?;
    if let (Some(issuer), Some(subject)) = (&args.issuer, &args.subject) {
        let revoked = database.revoke_subject((issuer, subject), args.reason.as_deref(), &operator()).await?;
        say(&format!("{} revoked. Servers refuse its tokens within five seconds.", revoked.revocation.id));
        let ended = [("Schedules stopped", &revoked.schedules), ("Deployments cancelled", &revoked.deployments)];
        for (what, ids) in ended.iter().filter(|(_, ids)| !ids.is_empty()) {
            say(&format!("{what}: {}", ids.join(", ")));
        }
        return Ok(());
    }
    match database.revoke_token(&args.id.unwrap_or_default(), &operator()).await? {
        Revoked::Now => say("Revoked. Servers refuse it within five seconds, and its schedules have stopped."),
        Revoked::Before => say("It was revoked before."),
        Revoked::Unknown => {
            return Err(CliError::input("id", "there is no such token; `panda token list` shows those that there are"));
        }
    }
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
        say(&clean::json(&Value::Array(rows)));
    } else {
        let columns = ["id", "issuer", "subject", "reason", "revokedBy", "revokedAt"];
        say(table::rows(&rows, &columns, "none: see panda token revoke --help").trim_end());
    }
    Ok(())
}

async fn restore(args: RestoreArgs) -> Result<(), CliError> {
    let Some(lifted) = database(&args.database).await?.restore_subject(&args.id, &operator()).await? else {
        let unknown = "there is no such revocation; `panda token revoked` shows those that there are";
        return Err(CliError::input("id", unknown));
    };
    let subject = clean::line(&lifted.subject);
    say(&format!(
        "{subject} of {} is accepted again. Its schedules stay stopped until they are taken over.",
        lifted.issuer
    ));
    Ok(())
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

/// Without keys: tokens are not sealed but hashed.
async fn database(config: &DatabaseConfig) -> Result<Db, CliError> {
    Ok(app::command_database(config, None).await?)
}

fn scope(owners: &[String], repos: &[String]) -> Result<Scope, CliError> {
    let names: Vec<String> = match (owners, repos) {
        ([], _) => return Ok(Scope::All),
        ([owner], [_, ..]) => repos.iter().map(|repo| format!("{owner}/{repo}")).collect(),
        (_, []) => owners.iter().map(|owner| format!("{owner}/*")).collect(),
        _ => return Err(CliError::input("--repo", "belongs to one --owner: make a token for each owner")),
    };
    Scope::of(&names).map_err(|problem| CliError::input("--owner, --repo", problem))
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@+:/".contains(&byte))
        && !text.starts_with(SCHEDULE_SUBJECT);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "give 1 to {MAX_NAME} letters, digits and -_.@+:/ without spaces; what begins with {SCHEDULE_SUBJECT} is a schedule"
        ))
    }
}

fn issuer(text: &str) -> Result<String, String> {
    let wrong = || "give an https address, as tokens have it in iss".to_owned();
    claims::is_issuer(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn subject(text: &str) -> Result<String, String> {
    let wrong = || "give 1 to 255 characters without control characters, as tokens have them in sub".to_owned();
    claims::is_subject(text).then(|| text.to_owned()).ok_or_else(wrong)
}

fn reason(text: &str) -> Result<String, String> {
    let fits = (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| "give 1 to 500 characters without control characters".to_owned())
}

fn expiry(text: &str) -> Result<DateTime<Utc>, String> {
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
        Some(_) => Err("that is over already".to_owned()),
        None => Err("give a time from now such as 12h or 90d, or a time such as 2027-01-31T00:00:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn no_token_is_called_like_a_schedule() {
        name("ci@acme:shop/main").unwrap();
        assert!(name("schedule:sch_1").unwrap_err().contains("schedule:"));
        assert!(name("a b").is_err() && name("").is_err());
    }

    #[test]
    fn owner_and_repo_are_a_scope_and_nothing_is_everything() {
        assert_eq!(scope(&[], &[]).unwrap(), Scope::All);
        assert_eq!(scope(&names(&["Acme"]), &[]).unwrap().to_string(), "acme/*");
        assert_eq!(scope(&names(&["acme"]), &names(&["a", "b"])).unwrap().to_string(), "acme/a, acme/b");
        assert!(scope(&names(&["a", "b"]), &names(&["c"])).is_err());
        assert!(scope(&names(&["a b"]), &[]).unwrap_err().to_string().contains("--owner"));
    }

    #[test]
    fn an_end_is_a_time_from_now_or_a_moment_to_come() {
        let in_days = |text| (expiry(text).unwrap() - Utc::now()).num_hours();
        assert!((2159..=2160).contains(&in_days("90d")) && (11..=12).contains(&in_days("12h")));
        expiry("2999-01-31T00:00:00Z").unwrap();
        for wrong in ["", "d", "0d", "-1d", "90", "90w", "2001-01-31T00:00:00Z", "99999999999999999d", "é"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
