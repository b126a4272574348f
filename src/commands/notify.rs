//! Wakes reconcilers up after a commit.

use crate::db::Db;

/// Notifies reconcilers of deployments to cancel. A lost notification costs the interval of a sweep.
pub(super) async fn notify_work(db: &Db, deployments: &[String]) {
    for id in deployments {
        if let Err(error) = db.notify_work(id).await {
            tracing::debug!(%error, "notification lost, the sweep will find the deployment");
        }
    }
}
