//! `panda keys`: manages the keys that encrypt stored secrets.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::database::locate_command;
use super::error::CliError;
use super::keys_check::{self, KeysCheckArgs};
use super::lang::text;
use super::progress::print;
use super::sanitize;
use crate::app;
use crate::config::{AwsConfig, DatabaseConfig};
use crate::db::audit::AuditRecord;
use crate::domain::audit::Action;
use crate::domain::keyring::Keyring;
use crate::domain::message::{Message, message};
use crate::metrics::AwsCalls;

#[derive(Args, Debug)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a key for the key file
    Generate(GenerateArgs),
    /// Rewrap the data keys of all stored secrets with the first key of the file; servers may run meanwhile
    Rotate(Box<RotateArgs>),
    /// Show which keys the stored secrets use, and which secrets cannot be decrypted
    Check(Box<KeysCheckArgs>),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda keys generate --file /etc/panda/keys      write a new file that only its owner can read
  panda keys generate                             print the line, for a secret store
  panda keys generate --kms arn:aws:kms:ap-northeast-2:123456789012:alias/panda --file /etc/panda/keys
                                                  write a line that names a key of KMS, which never leaves KMS")]
struct GenerateArgs {
    /// New file to write the key to
    #[arg(long)]
    file: Option<PathBuf>,
    /// Key or alias of AWS KMS to use instead of a generated key; the server needs kms:Encrypt and kms:Decrypt on it
    #[arg(long, value_name = "ARN")]
    kms: Option<String>,
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
To change the key without downtime:
  1. panda keys generate, append the line *after* the existing one in the file of every server, and restart them: now all can decrypt with both
  2. move the new line to the top and restart them again: now all encrypt with it
  3. panda keys rotate --key-file FILE
  4. panda keys check --key-file FILE, and remove the lines that it lists as unused")]
struct RotateArgs {
    /// Print the output as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    aws: AwsConfig,
}

pub async fn run(args: KeysArgs) -> Result<(), CliError> {
    match args.command {
        Command::Generate(args) => generate(&args),
        Command::Rotate(args) => rotate(*args).await,
        Command::Check(args) => keys_check::run(*args).await,
    }
}

fn generate(args: &GenerateArgs) -> Result<(), CliError> {
    let line = match &args.kms {
        Some(arn) => SecretString::from(
            Keyring::name_kms(arn).map_err(|_| CliError::input("--kms", message!("cli.no_kms_arn")))?,
        ),
        None => Keyring::generate().map_err(|error| CliError::input("keys", Message::verbatim(error.to_string())))?,
    };
    let Some(path) = &args.file else {
        let line = line.expose_secret();
        print(&if args.json { sanitize::json(&json!({"line": line})) } else { line.to_owned() });
        return Ok(());
    };
    write_new(path, &line)?;
    let id = line.expose_secret().split(':').next().unwrap_or_default();
    if args.json {
        print(&sanitize::json(&json!({"key": id, "path": path.display().to_string()})));
        return Ok(());
    }
    let keep = match &args.kms {
        Some(_) => message!("cli.keep_kms_key"),
        None => message!("cli.keep_key"),
    };
    print(&text(&message!("cli.key_written", id, path = path.display().to_string(), keep)));
    Ok(())
}

/// Writes a new file that only its owner can read. Never overwrites a file: secrets encrypted with its key would be lost.
pub fn write_new(path: &Path, line: &SecretString) -> Result<(), CliError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{}\n", line.expose_secret()).as_bytes()));
    written.map_err(|error| {
        CliError::input(
            "--file",
            message!("cli.file_unwritable", path = path.display().to_string(), error = error.to_string()),
        )
    })
}

async fn rotate(args: RotateArgs) -> Result<(), CliError> {
    let database = args.database.clone();
    rewrap(args).await.map_err(|error| locate_command(error, &database))
}

async fn rewrap(args: RotateArgs) -> Result<(), CliError> {
    let aws = app::aws(&args.aws, None, None, Vec::new(), AwsCalls::default()).await;
    let keyring = Arc::new(app::keyring(&args.database, &aws)?);
    let db = app::command_database(&args.database, Some(Arc::clone(&keyring))).await?;
    // Works row by row while servers run; the audit records the start and the result.
    let by = &super::operator();
    let entry = |details| AuditRecord {
        by,
        action: Action::RotateKeys,
        target: Some(keyring.encrypting_id()),
        repository: None,
        refused: None,
        details,
    };
    db.record_audit(&entry(json!({"begun": true}))).await?;
    let wrapped = db.rewrap_keys().await?;
    db.record_audit(&entry(json!({"wrapped": wrapped}))).await?;
    let key = keyring.encrypting_id();
    print(&if args.json {
        sanitize::json(&json!({"key": key, "rewrapped": wrapped}))
    } else {
        text(&message!("cli.keys_rotated", key, wrapped))
    });
    Ok(())
}
