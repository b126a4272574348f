//! Starts the next queued deployment of a target whose deployment has ended.

use crate::db::Db;
use crate::domain::log_throttle::LogThrottle;

static DEQUEUE_ERRORS: LogThrottle = LogThrottle::new();

/// Dequeues the next deployment of each free target. The driver calls it when a deployment has ended; `background` calls it
/// periodically, in case the process died in between.
pub(crate) async fn dequeue(db: &Db) {
    let dequeued = match db.start_queued_deployments().await {
        Ok(dequeued) => dequeued,
        Err(error) if DEQUEUE_ERRORS.allows(&error) => {
            return tracing::warn!(%error, "queued deployments not started, retrying periodically");
        }
        Err(_) => return,
    };
    for id in dequeued {
        // Not in the span of the deployment whose end freed the target.
        tracing::info!(parent: None, deployment = id, "deployment dequeued");
        if let Err(error) = db.notify_work(&id).await {
            tracing::debug!(%error, "notification of work lost, the sweep finds the row");
        }
    }
}
