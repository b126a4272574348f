//! `panda migrate`: the database's schema.

use clap::Args;

use super::error::CliError;
use super::progress::say;
use crate::config::DatabaseConfig;
use crate::db::{Db, DbOptions};

/// `panda migrate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda migrate --database-url postgres://panda@127.0.0.1/panda

Safe to run twice, and while replicas run: a migration never breaks the version before it.")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
}

/// Applies what is missing.
pub async fn run(args: MigrateArgs) -> Result<(), CliError> {
    let db = Db::new(&DbOptions {
        url: args.database.database_url,
        max_connections: args.database.database_max_connections,
        acquire_timeout: args.database.database_acquire_timeout,
        // The schema holds no secrets; the first server that starts seals those from before there was a key.
        keyring: None,
    })?;
    db.migrate().await?;
    if db.mend_event_order().await? {
        say("The events were restored from another Postgres cluster; new ones are put behind them.");
    }
    say("The schema is up to date.");
    Ok(())
}
