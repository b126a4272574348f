//! The row of a deployment that is driven: read again when it is not known what became of it, given back.

use super::driver::Driver;
use super::limits::{RETRY_BASE, RETRY_CAP};
use crate::db::DbError;
use crate::domain::{Deployment, backoff};

impl Driver {
    /// The answer to a statement was lost or refused, for the how-manieth time in a row: what became of it is in the row. None when the row
    /// is not ours any more.
    pub(super) async fn read_again(&self, id: &str, error: &DbError, mut tries: u32) -> Option<Deployment> {
        tracing::warn!(%error, "the database failed; the row is read again");
        let ids = [id.to_owned()];
        loop {
            tokio::select! {
                () = tokio::time::sleep(backoff::delay(tries, RETRY_BASE, RETRY_CAP, rand::random())) => {}
                () = self.stop.cancelled() => return None,
            }
            match self.db.load_owned(self.replica, &ids).await {
                Ok(mut rows) => return rows.pop().filter(|row| !row.status.is_finished()),
                Err(error) => tracing::debug!(%error, "the row could not be read yet"),
            }
            tries += 1;
        }
    }

    /// Gives the row back to whoever has room for it.
    pub(super) async fn give_back(&self, deployment: &Deployment) {
        if let Err(error) = self.db.release(&deployment.id, self.replica, deployment.version).await {
            tracing::debug!(%error, "could not be given back; others take over when the lease runs out");
        }
    }
}
