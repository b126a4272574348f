//! The database's schema, before anything else can begin.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db::schema::known;
use crate::db::{Db, DbError};
use crate::domain::schema::{Fit, TooNew};

/// Between two looks at a database that is away or not migrated.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Waits until the schema is one that this version works with, bringing it there if told to. False when stopped before.
///
/// # Errors
/// When it is for newer versions alone: waiting would not help.
pub(super) async fn wait_for_schema(db: &Db, migrate: bool, stop: &CancellationToken) -> Result<bool, TooNew> {
    let mut said = String::new();
    loop {
        let missing = match schema_is_there(db, migrate).await {
            Ok(true) => return Ok(true),
            Ok(false) => {
                "the schema is older than this version: run `panda migrate`, or start with --migrate".to_owned()
            }
            Err(DbError::TooNew(too_new)) => return Err(too_new),
            Err(error) => error.to_string(),
        };
        // Once for each reason: a database that is away for an hour is one line, not 3,600.
        if said != missing {
            tracing::warn!(reason = missing, "deployments wait for the database");
            said = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return Ok(false),
        }
    }
}

async fn schema_is_there(db: &Db, migrate: bool) -> Result<bool, DbError> {
    match db.schema().await? {
        Fit::Fits { newer: None } => {}
        Fit::Fits { newer: Some(newer) } => {
            tracing::info!(newer, known = known(), "the schema is a newer version's, and works with this one");
        }
        Fit::Behind if migrate => {
            db.migrate().await?;
        }
        Fit::Behind => return Ok(false),
    }
    if db.mend_event_order().await? {
        tracing::warn!("the events were restored from another Postgres cluster; new ones are put behind them");
    }
    match db.seal_clear_secrets().await? {
        0 => {}
        sealed => tracing::info!(sealed, "secrets from before there was a key are sealed now"),
    }
    Ok(true)
}
