//! `panda migrate`: applies the missing migrations.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::database;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::sanitize;
use crate::app;
use crate::config::DatabaseConfig;
use crate::db::fitness::{AppRole, AppRoleError};
use crate::db::reports::{ROLE_SCRIPT, Reporters};
use crate::db::schema::{Migrated, known};
use crate::db::{Db, DbError};
use crate::domain::message::{Message, message};
use crate::steps::Step;

/// Interval between two tries to reach the database.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
// The role's SQL depends on no database.
#[command(mut_arg("database_url", |address| address.required_unless_present("print_report_role")))]
#[command(after_help = "\
Examples:
  panda migrate --database-url postgres://panda@127.0.0.1/panda
  panda migrate --wait-ms 60000                  for a database that starts at the same time

Safe to repeat, and to run while replicas run: a migration never breaks the previous version, and refuses to run while an older version runs that it
would break.

Also creates the role panda_report, which may only read the views of docs/reporting.md, if the database's user may create roles.
Otherwise it prints a message, and an administrator of the database must run the following, and the owner `panda migrate` once more:
  panda migrate --print-report-role | psql -v ON_ERROR_STOP=1 postgres://postgres@127.0.0.1/panda

Servers need not own the tables. To create a role that only uses them, now and after later migrations (docs/security.md):
  panda migrate --print-app-role panda_app | psql -v ON_ERROR_STOP=1 postgres://postgres@127.0.0.1/panda")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Milliseconds to wait for an unreachable database, at most one day; 0 to fail immediately
    #[arg(long = "wait-ms", env = "PANDA_MIGRATE_WAIT_MS", value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    wait_ms: u64,
    /// Print the SQL that creates the role panda_report, without running it
    #[arg(long)]
    print_report_role: bool,
    /// Print the SQL that creates a role for servers, which uses the tables without owning them, without running it
    #[arg(long, value_name = "ROLE", num_args = 0..=1, default_missing_value = "panda_app", conflicts_with = "print_report_role")]
    print_app_role: Option<AppRole>,
    /// Write the rows that reports read again, from all deployments and the archive; servers may run meanwhile
    #[arg(long, conflicts_with_all = ["print_report_role", "print_app_role"])]
    rebuild_reports: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Applies the missing migrations, or prints the requested SQL.
pub async fn run(args: MigrateArgs) -> Result<(), CliError> {
    if args.print_report_role {
        print(ROLE_SCRIPT.trim_end());
        return Ok(());
    }
    let database = args.database.clone();
    migrate(args).await.map_err(|error| database::locate_command(error, &database))
}

async fn migrate(args: MigrateArgs) -> Result<(), CliError> {
    let db = app::command_database(&args.database, None).await?;
    wait_for(&db, Duration::from_millis(args.wait_ms)).await?;
    if let Some(role) = &args.print_app_role {
        return print_app_role(&db, role).await;
    }
    let migrated = db.migrate().await?;
    if migrated == Migrated::UpToDate {
        db.store_step_stages(&Step::stages()).await?;
    }
    let sequences = db.advance_sequences().await?;
    let restored = db.repair_event_order().await?;
    let rebuilt = if args.rebuild_reports { Some(db.rebuild_reports().await?) } else { None };
    let role_missing = db.admit_reporters().await? == Reporters::ScriptNeeded;
    let newer = match migrated {
        Migrated::UpToDate => None,
        Migrated::Newer(newer) => Some(newer),
    };
    if args.json {
        let outcome = json!({
            "newerMigration": newer, "sequencesAdvanced": sequences, "eventsRestored": restored, "reportRoleMissing": role_missing,
            "reportsRebuilt": rebuilt,
        });
        print(&sanitize::json(&outcome));
        return Ok(());
    }
    for sequence in sequences {
        print(&text(&message!("cli.sequence_advanced", sequence)));
    }
    if restored {
        print(&text(&message!("cli.events_restored")));
    }
    if let Some(deployments) = rebuilt {
        print(&text(&message!("cli.reports_rebuilt", deployments)));
    }
    if role_missing {
        print(&text(&message!("cli.report_role_missing")));
    }
    print(&text(
        &newer.map_or_else(
            || message!("cli.schema_current"),
            |newer| message!("cli.schema_newer", newer, known = known()),
        ),
    ));
    Ok(())
}

async fn print_app_role(db: &Db, role: &AppRole) -> Result<(), CliError> {
    match db.app_role_script(role).await {
        Ok(script) => print(&script),
        Err(AppRoleError::Db(error)) => return Err(error.into()),
        Err(error) => return Err(CliError::input("--print-app-role", Message::verbatim(error.to_string()))),
    }
    Ok(())
}

/// Waits until the database answers, for at most `limit`. Returns errors that waiting cannot fix immediately.
async fn wait_for(db: &Db, limit: Duration) -> Result<(), DbError> {
    let deadline = Instant::now() + limit;
    let mut logged = String::new();
    loop {
        let error = match db.ping().await {
            Err(error @ DbError::Unavailable(_)) if !error.is_refused_connection() => error,
            other => return other,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(error);
        }
        // Logged once per reason: an outage of an hour is one line, not 3,600.
        let reason = error.to_string();
        if logged != reason {
            tracing::warn!(reason, "waiting for the database");
            logged = reason;
        }
        tokio::time::sleep(RETRY_AFTER.min(left)).await;
    }
}
