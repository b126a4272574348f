//! `panda keys check`: shows which keys the encrypted rows use, and which rows cannot be decrypted. Changes nothing, and prints no secret.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::database::locate_command;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::app;
use crate::config::{AwsConfig, DatabaseConfig};
use crate::domain::keyring::{KeyError, KeyUsage, UsageState};
use crate::domain::message::{Message, message};
use crate::domain::schema::Fit;
use crate::metrics::AwsCalls;

/// Most unreadable rows that are printed in a terminal; JSON has a hundred.
const MAX_SHOWN: usize = 20;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda keys check --key-file /etc/panda/keys             before and after a rotation, with the servers' file
  panda keys check --key-file /etc/panda/keys.new         test a file before servers use it
  panda keys check --json | jq -r '.keys[] | select(.state == \"unused\").id'

Decrypts every stored secret, which with a key of KMS is one call for each row. Only reads: it may use a standby.
Exits with 5 when a row cannot be decrypted, or the first key cannot encrypt.")]
pub struct KeysCheckArgs {
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    aws: AwsConfig,
}

pub async fn run(args: KeysCheckArgs) -> Result<(), CliError> {
    let database = args.database.clone();
    check(args).await.map_err(|error| locate_command(error, &database))
}

async fn check(args: KeysCheckArgs) -> Result<(), CliError> {
    let aws = app::aws(&args.aws, None, None, Vec::new(), AwsCalls::default()).await;
    let keyring = Arc::new(app::keyring(&args.database, &aws)?);
    let db = app::command_database(&args.database, Some(keyring)).await?;
    if db.schema().await? == Fit::Behind {
        return Err(CliError::input("database", message!("cli.not_migrated")));
    }
    let usage = db.check_rows().await?;
    if args.json {
        print(&sanitize::json(&as_json(&usage)));
    } else {
        show(&usage);
    }
    let (rows, unreadable) = usage.totals();
    match &usage.encrypting {
        _ if unreadable > 0 => Err(CliError::Keys(message!("cli.keys_unreadable", unreadable, rows))),
        Err(error) => Err(CliError::Keys(message!("cli.first_key_unusable", error = error.to_string()))),
        Ok(()) => Ok(()),
    }
}

fn as_json(usage: &KeyUsage) -> Value {
    let (rows, unreadable) = usage.totals();
    let listed = usage.unreadable().iter();
    let listed = listed
        .map(|row| json!({"row": row.row, "key": row.key_id, "problem": row.error.to_string()}))
        .collect::<Vec<_>>();
    json!({
        "keys": keys(usage), "rows": rows, "unreadable": unreadable, "unreadableRows": listed,
        "encryptingProblem": usage.encrypting.as_ref().err().map(ToString::to_string),
    })
}

fn keys(usage: &KeyUsage) -> Vec<Value> {
    let keys = usage.keys();
    keys.map(|(key, state)| json!({"id": key.id, "state": name(state), "rows": key.rows, "unreadable": key.unreadable}))
        .collect()
}

fn name(state: UsageState) -> &'static str {
    match state {
        UsageState::Encrypts => "encrypts",
        UsageState::Decrypts => "decrypts",
        UsageState::Unused => "unused",
        UsageState::Missing => "missing",
    }
}

fn show(usage: &KeyUsage) {
    print(table::rows(&keys(usage), &["id", "state", "rows", "unreadable"], "").trim_end());
    let (rows, unreadable) = usage.totals();
    for row in usage.unreadable().iter().take(MAX_SHOWN) {
        print(&format!("{}: {}", sanitize::line(&row.row), text(&problem(&row.error))));
    }
    let more = unreadable.saturating_sub(u64::try_from(MAX_SHOWN).unwrap_or(u64::MAX));
    if more > 0 {
        print(&text(&message!("cli.more_unreadable", more)));
    }
    if unreadable > 0 {
        print(&text(&message!("cli.unreadable_remedy")));
    } else {
        print(&text(&message!("cli.keys_readable", rows)));
    }
    let unused = usage.keys().filter(|(_, state)| *state == UsageState::Unused);
    let unused: Vec<&str> = unused.map(|(key, _)| key.id.as_str()).collect();
    if !unused.is_empty() {
        print(&text(&message!("cli.keys_unused", keys = sanitize::line(&unused.join(", ")))));
    }
}

fn problem(error: &KeyError) -> Message {
    match error {
        KeyError::Unknown { key_id, .. } => message!("cli.key_missing", key = sanitize::line(key_id)),
        KeyError::Broken(_) => message!("cli.row_broken"),
        other => Message::verbatim(sanitize::text(&other.to_string())),
    }
}
