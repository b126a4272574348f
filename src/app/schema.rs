//! The database's schema, before anything else can begin.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db::{Db, DbError};

/// Between two looks at a database that is away or not migrated.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Waits until the schema is the one that this version needs, bringing it there if told to. False when stopped before.
pub(super) async fn wait_for_schema(db: &Db, migrate: bool, stop: &CancellationToken) -> bool {
    let mut said = String::new();
    loop {
        let missing = match schema_is_there(db, migrate).await {
            Ok(true) => return true,
            Ok(false) => {
                "the schema is older than this version: run `panda migrate`, or start with --migrate".to_owned()
            }
            Err(error) => error.to_string(),
        };
        // Once for each reason: a database that is away for an hour is one line, not 3,600.
        if said != missing {
            tracing::warn!(reason = missing, "deployments wait for the database");
            said = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return false,
        }
    }
}

async fn schema_is_there(db: &Db, migrate: bool) -> Result<bool, DbError> {
    if !db.is_migrated().await? {
        if !migrate {
            return Ok(false);
        }
        db.migrate().await?;
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
