//! Waits for a usable database and schema, which every other task needs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db::schema::{Migrated, known};
use crate::db::{Db, DbError};
use crate::domain::message::message;
use crate::domain::schema::Fit;
use crate::steps::Step;

/// Interval of the attempts to use a database that is unavailable or not migrated.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Waits until the schema is compatible with this version, and migrates it if `migrate` is set. Until then requests are answered with the
/// reason. Returns false when stopped before.
///
/// # Errors
/// Errors that waiting cannot resolve: [`DbError::is_final`].
pub(super) async fn wait_for_schema(db: &Db, migrate: bool, stop: &CancellationToken) -> Result<bool, DbError> {
    let mut logged = String::new();
    loop {
        let missing = match prepare(db, migrate).await {
            Ok(true) => {
                db.set_schema_pending(None);
                return Ok(true);
            }
            Ok(false) => {
                "the schema is older than this version: run `panda migrate`, or start with --migrate".to_owned()
            }
            Err(error) if error.is_final() => {
                db.set_schema_pending(Some(error.message()));
                return Err(error);
            }
            Err(error) => {
                db.set_schema_pending(Some(error.message()));
                error.to_string()
            }
        };
        // Each reason is logged once: an outage of an hour is one line, not 3,600.
        if logged != missing {
            tracing::warn!(reason = missing, "database not usable yet, deployments wait");
            logged = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = stop.cancelled() => return Ok(false),
        }
    }
}

/// Makes the database usable for this version. Returns false when its schema is older and `migrate` is not set.
async fn prepare(db: &Db, migrate: bool) -> Result<bool, DbError> {
    db.check_fitness().await?;
    let is_newer = match db.schema().await? {
        Fit::Fits { newer: None } => false,
        Fit::Fits { newer: Some(newer) } => {
            tracing::info!(newer, known = known(), "database schema is newer than this version and compatible with it");
            true
        }
        Fit::Behind if migrate => {
            db.set_schema_pending(Some(message!("database.migrating")));
            db.migrate().await? != Migrated::UpToDate
        }
        Fit::Behind => {
            db.set_schema_pending(Some(message!("database.behind")));
            return Ok(false);
        }
    };
    if let Some(missing) = db.missing_privilege().await? {
        tracing::warn!(reason = %missing, "database role lacks privileges");
    }
    // Of steps that both know, the newer version decides.
    if !is_newer {
        db.store_step_stages(&Step::stages()).await?;
    }
    repair_after_restore(db).await?;
    Ok(true)
}

/// Repairs the order of events after a restore, and sequences after a logical copy.
async fn repair_after_restore(db: &Db) -> Result<(), DbError> {
    if db.repair_event_order().await? {
        tracing::warn!("events were restored from another Postgres cluster, new events follow after them");
    }
    for sequence in db.advance_sequences().await? {
        tracing::warn!(
            sequence,
            "sequence was behind the rows of its table, as after a logical copy, and was advanced"
        );
    }
    Ok(())
}
