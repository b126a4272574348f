//! `panda migrate`: the database's schema.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::error::CliError;
use super::progress::say;
use crate::app;
use crate::config::DatabaseConfig;
use crate::db::fitness::{AppRole, AppRoleError};
use crate::db::reports::{ROLE_SCRIPT, Reporters};
use crate::db::schema::{Migrated, known};
use crate::db::{Db, DbError};

/// Between two looks at a database that is away.
const RETRY: Duration = Duration::from_secs(1);

/// `panda migrate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda migrate --database-url postgres://panda@127.0.0.1/panda
  panda migrate --wait-ms 60000                  for a database that starts at the same time

Safe to run twice, and while replicas run: a migration never breaks the version before it, and refuses when an older one is running that it would break.

The role panda_report, which reads the views of docs/reporting.md and nothing else, is made as well if the database's user may create roles.
If not, it says so; then an administrator of the database runs what this prints:
  panda migrate --print-report-role | psql -v ON_ERROR_STOP=1 postgres://postgres@127.0.0.1/panda

Servers need not own the tables. A role that uses them and no more, now and after later migrations (docs/security.md):
  panda migrate --print-app-role panda_app | psql -v ON_ERROR_STOP=1 postgres://postgres@127.0.0.1/panda")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Milliseconds to wait for a database that is away, at most a day; 0: not at all
    #[arg(long = "wait-ms", env = "PANDA_MIGRATE_WAIT_MS", value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    wait_ms: u64,
    /// Print the SQL that makes the role panda_report, and do nothing
    #[arg(long)]
    print_report_role: bool,
    /// Print the SQL that makes a role for servers, which uses the tables without owning them, and do nothing
    #[arg(long, value_name = "ROLE", num_args = 0..=1, default_missing_value = "panda_app", conflicts_with = "print_report_role")]
    print_app_role: Option<AppRole>,
}

/// Applies what is missing.
pub async fn run(args: MigrateArgs) -> Result<(), CliError> {
    if args.print_report_role {
        say(ROLE_SCRIPT.trim_end());
        return Ok(());
    }
    // The schema holds no secrets; the first server that starts seals those from before there was a key.
    let db = app::command_database(&args.database, None).await?;
    wait_for(&db, Duration::from_millis(args.wait_ms)).await?;
    if let Some(role) = &args.print_app_role {
        return print_app_role(&db, role).await;
    }
    let migrated = db.migrate().await?;
    for sequence in db.advance_sequences().await? {
        say(&format!(
            "The sequence {sequence} was behind the rows of its table, as after a logical copy; it continues behind them."
        ));
    }
    for index in db.build_deferred_indexes().await? {
        say(&format!("The index {index} is built."));
    }
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

async fn print_app_role(db: &Db, role: &AppRole) -> Result<(), CliError> {
    match db.app_role_script(role).await {
        Ok(script) => say(&script),
        Err(AppRoleError::Db(error)) => return Err(error.into()),
        Err(error) => return Err(CliError::input("--print-app-role", error.to_string())),
    }
    Ok(())
}

/// Waits until the database answers, for at most `limit`. What waiting does not mend is an error at once.
async fn wait_for(db: &Db, limit: Duration) -> Result<(), DbError> {
    let deadline = Instant::now() + limit;
    let mut said = String::new();
    loop {
        let error = match db.ping().await {
            Err(error @ DbError::Unavailable(_)) if !error.is_refused_connection() => error,
            other => return other,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(error);
        }
        // Once for each reason: a database that is away for an hour is one line, not 3,600.
        let reason = error.to_string();
        if said != reason {
            tracing::warn!(reason, "the database is waited for");
            said = reason;
        }
        tokio::time::sleep(RETRY.min(left)).await;
    }
}
