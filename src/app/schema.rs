//! The database and its schema, before anything else can begin.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db::schema::known;
use crate::db::{Db, DbError};
use crate::domain::schema::Fit;

/// Time between two tries to reach a database that is unavailable or not migrated.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Waits until the schema is one that this version works with, migrating it when `migrate` is set. Until then requests are answered with the
/// reason. False when stopped before.
///
/// # Errors
/// When waiting would not help: [`DbError::is_final`].
pub(super) async fn wait_for_schema(db: &Db, migrate: bool, stop: &CancellationToken) -> Result<bool, DbError> {
    let mut logged = String::new();
    loop {
        let missing = match prepare(db, migrate).await {
            Ok(true) => {
                db.set_schema_pending(None);
                if migrate {
                    tokio::spawn(build_indexes(db.clone()));
                }
                return Ok(true);
            }
            Ok(false) => {
                "the schema is older than this version: run `panda migrate`, or start with --migrate".to_owned()
            }
            Err(error) if error.is_final() => {
                db.set_schema_pending(Some(error.to_string()));
                return Err(error);
            }
            Err(error) => {
                db.set_schema_pending(Some(db.in_words(&error)));
                error.to_string()
            }
        };
        // Once for each reason: a database that is away for an hour is one line, not 3,600.
        if logged != missing {
            tracing::warn!(reason = missing, "deployments wait for the database");
            logged = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return Ok(false),
        }
    }
}

/// While it serves: a large table's index takes minutes. What is not built by the end is built by the next server that migrates.
async fn build_indexes(db: Db) {
    match db.build_deferred_indexes().await {
        Ok(built) if built.is_empty() => {}
        Ok(built) => tracing::info!(indexes = built.join(", "), "indexes that a migration left are built"),
        Err(error) => {
            tracing::warn!(%error, "an index that a migration left is not built; queries that need it are slow");
        }
    }
}

/// Brings the database to where this version can work with it; false when its schema is behind and may not be migrated.
async fn prepare(db: &Db, migrate: bool) -> Result<bool, DbError> {
    db.check_fitness().await?;
    match db.schema().await? {
        Fit::Fits { newer: None } => {}
        Fit::Fits { newer: Some(newer) } => {
            tracing::info!(newer, known = known(), "the schema is a newer version's, and works with this one");
        }
        Fit::Behind if migrate => {
            db.set_schema_pending(Some("the schema is being migrated".to_owned()));
            db.migrate().await?;
        }
        Fit::Behind => {
            db.set_schema_pending(Some("the schema is older than this version: run `panda migrate`".to_owned()));
            return Ok(false);
        }
    }
    if let Some(missing) = db.missing_privilege().await? {
        tracing::warn!(reason = %missing, "the database role lacks privileges");
    }
    mend_after_restore(db).await?;
    match db.seal_clear_secrets().await? {
        0 => {}
        sealed => tracing::info!(sealed, "secrets from before there was a key are sealed now"),
    }
    Ok(true)
}

/// Corrects what a restore or a copy of rows leaves behind.
async fn mend_after_restore(db: &Db) -> Result<(), DbError> {
    if db.mend_event_order().await? {
        tracing::warn!("the events were restored from another Postgres cluster; new ones are put behind them");
    }
    for sequence in db.advance_sequences().await? {
        tracing::warn!(
            sequence,
            "the sequence was behind the rows of its table, as after a logical copy; it continues behind them"
        );
    }
    Ok(())
}
