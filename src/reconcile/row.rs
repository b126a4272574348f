//! Reads a driven deployment's row again after an error, and releases it.

use super::driver::Driver;
use super::limits::{RETRY_BASE, RETRY_CAP};
use crate::db::DbError;
use crate::domain::{Deployment, Status, backoff};

impl Driver {
    /// Reads the row again after the answer to a statement was lost or refused: only the row shows whether the statement took effect. `tries`
    /// counts the failures in a row, and sets the delay. Returns `None` when this replica does not own the row any more.
    pub(super) async fn reload(&self, id: &str, error: &DbError, mut tries: u32) -> Option<Deployment> {
        tracing::warn!(%error, "database error, reading the row again");
        let ids = [id.to_owned()];
        loop {
            tokio::select! {
                () = tokio::time::sleep(backoff::delay(tries, RETRY_BASE, RETRY_CAP, rand::random())) => {}
                () = self.stop.cancelled() => return None,
            }
            match self.db.load_owned(self.replica, &ids).await {
                Ok(mut rows) => return rows.pop().filter(|row| row.status != Status::Failed),
                Err(error) => tracing::debug!(%error, "row not read, retrying"),
            }
            tries += 1;
        }
    }

    /// Releases the row, for any replica to claim.
    pub(super) async fn release(&self, deployment: &Deployment) {
        if let Err(error) = self.db.release(&deployment.id, self.replica, deployment.version).await {
            tracing::debug!(%error, "deployment not released; others take over when the lease expires");
        }
    }
}
