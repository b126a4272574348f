//! `panda keys`: the keys that seal stored secrets.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::error::CliError;
use super::progress::say;
use crate::app;
use crate::config::{AwsConfig, DatabaseConfig};
use crate::db::audit::Entry;
use crate::domain::audit::Action;
use crate::domain::keyring::Keyring;
use crate::metrics::AwsCalls;

/// What `--kms` wants.
const NO_ARN: &str = "not the ARN of a KMS key or alias, such as arn:aws:kms:ap-northeast-2:123456789012:alias/panda";

/// `panda keys`.
#[derive(Args, Debug)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key
    Generate(GenerateArgs),
    /// Wrap the data keys of all stored secrets with the first key of the file, while servers run
    Rotate(Box<RotateArgs>),
}

/// `panda keys generate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda keys generate --file /etc/panda/keys      a new file, readable by its owner alone
  panda keys generate                             prints the line, for a secret store
  panda keys generate --kms arn:aws:kms:ap-northeast-2:123456789012:alias/panda --file /etc/panda/keys
                                                  a line that names a key of KMS, which never leaves it")]
struct GenerateArgs {
    /// Write it to this file, which must not be there yet
    #[arg(long)]
    file: Option<PathBuf>,
    /// Name this key or alias of AWS KMS instead of making a key; the server needs kms:Encrypt and kms:Decrypt on it
    #[arg(long, value_name = "ARN")]
    kms: Option<String>,
}

/// `panda keys rotate`.
#[derive(Args, Debug)]
#[command(after_help = "\
How to change the key, without a moment in which secrets cannot be used:
  1. panda keys generate, and put the line *behind* the one in the file of every server; restart them: now all can open both
  2. move the new line to the front, restart them again: now all seal with it
  3. panda keys rotate --key-file FILE
  4. remove the old line")]
struct RotateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    aws: AwsConfig,
}

/// Runs it.
pub async fn run(args: KeysArgs) -> Result<(), CliError> {
    match args.command {
        Command::Generate(args) => generate(&args),
        Command::Rotate(args) => rotate(*args).await,
    }
}

fn generate(args: &GenerateArgs) -> Result<(), CliError> {
    let line = match &args.kms {
        Some(arn) => SecretString::from(Keyring::name_kms(arn).map_err(|_| CliError::input("--kms", NO_ARN))?),
        None => Keyring::generate().map_err(|error| CliError::input("keys", error.to_string()))?,
    };
    let Some(path) = &args.file else {
        say(line.expose_secret());
        return Ok(());
    };
    write_new(path, &line)?;
    let id = line.expose_secret().split(':').next().unwrap_or_default();
    let keep = match &args.kms {
        Some(_) => "Do not delete the key in KMS: without it, stored secrets are lost.",
        None => "Keep a copy elsewhere: without it, stored secrets are lost.",
    };
    say(&format!("{} has the new key {id}. {keep}", path.display()));
    Ok(())
}

/// Writes a new file that only its owner can read. Never over another one: what is sealed with that could not be opened any more.
pub fn write_new(path: &Path, line: &SecretString) -> Result<(), CliError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{}\n", line.expose_secret()).as_bytes()));
    written.map_err(|error| CliError::input("--file", format!("{} cannot be written: {error}", path.display())))
}

async fn rotate(args: RotateArgs) -> Result<(), CliError> {
    let aws = app::aws(&args.aws, None, None, Vec::new(), AwsCalls::default()).await;
    let keyring = Arc::new(app::keyring(&args.database, &aws)?);
    let db = app::command_database(&args.database, Some(Arc::clone(&keyring))).await?;
    // Row by row, while servers run: what is kept says that it was begun, and what it came to.
    let by = &super::operator();
    let entry = |details| Entry {
        by,
        action: Action::RotateKeys,
        target: Some(keyring.sealing_id()),
        repository: None,
        refused: None,
        details,
    };
    db.record(&entry(json!({"begun": true}))).await?;
    let sealed = db.seal_clear_secrets().await?;
    let wrapped = db.rewrap_keys().await?;
    db.record(&entry(json!({"wrapped": wrapped, "sealed": sealed}))).await?;
    say(&format!(
        "All secrets are under the key {}: {wrapped} wrapped anew, {sealed} sealed for the first time.",
        keyring.sealing_id()
    ));
    Ok(())
}
