//! `panda migrate`: the database's schema.

use clap::Args;

use super::error::CliError;
use super::progress::say;
use crate::config::DatabaseConfig;
use crate::db::reports::{ROLE_SCRIPT, Reporters};
use crate::db::schema::{Migrated, known};
use crate::db::{Db, DbOptions};

/// `panda migrate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda migrate --database-url postgres://panda@127.0.0.1/panda

Safe to run twice, and while replicas run: a migration never breaks the version before it, and refuses when an older one is running that it would break.

The role panda_report, which reads the views of docs/reporting.md and nothing else, is made as well if the database's user may create roles.
If not, it says so; then an administrator of the database runs what this prints:
  panda migrate --print-report-role | psql -v ON_ERROR_STOP=1 postgres://postgres@127.0.0.1/panda")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Print the SQL that makes the role panda_report, and do nothing
    #[arg(long)]
    print_report_role: bool,
}

/// Applies what is missing.
pub async fn run(args: MigrateArgs) -> Result<(), CliError> {
    if args.print_report_role {
        say(ROLE_SCRIPT.trim_end());
        return Ok(());
    }
    let db = Db::new(&DbOptions {
        url: args.database.database_url,
        max_connections: args.database.database_max_connections,
        acquire_timeout: args.database.database_acquire_timeout,
        // The schema holds no secrets; the first server that starts seals those from before there was a key.
        keyring: None,
    })?;
    let migrated = db.migrate().await?;
    if db.mend_event_order().await? {
        say("The events were restored from another Postgres cluster; new ones are put behind them.");
    }
    if db.reporters().await? == Reporters::ScriptNeeded {
        say(
            "The role panda_report is missing or incomplete, and this user may not mend that. Reports by SQL need it: have an administrator of the \
             database run what `panda migrate --print-report-role` prints.",
        );
    }
    match migrated {
        Migrated::UpToDate => say("The schema is up to date."),
        Migrated::Newer(newer) => {
            say(&format!(
                "The schema is a newer version's (migration {newer}; this program knows {}), and works with this one.",
                known()
            ));
        }
    }
    Ok(())
}
