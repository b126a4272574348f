//! What has to be tidied now and then, by cron expressions.

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::db::Db;

/// Every five minutes, at second 30.
const OFTEN: &str = "30 */5 * * * *";

/// Tidies until `stop`.
pub(super) async fn run(db: Db, stop: CancellationToken) {
    let mut scheduler = match schedule(db).await {
        Ok(scheduler) => scheduler,
        Err(error) => return tracing::error!(%error, "housekeeping could not be scheduled"),
    };
    stop.cancelled().await;
    if let Err(error) = scheduler.shutdown().await {
        tracing::debug!(%error, "housekeeping did not end cleanly");
    }
}

async fn schedule(db: Db) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    scheduler
        .add(Job::new_async(OFTEN, move |_, _| {
            let db = db.clone();
            Box::pin(async move { tidy(&db).await })
        })?)
        .await?;
    scheduler.start().await?;
    Ok(scheduler)
}

/// Forgets dead replicas, old idempotency keys and sessions: what nobody can use any more. What people may want to keep is in `maintenance`.
pub async fn tidy(db: &Db) {
    match db.forget_dead_replicas().await {
        Ok(0) => {}
        Ok(gone) => tracing::info!(gone, "forgot replicas that have been silent for an hour"),
        Err(error) => tracing::warn!(%error, "dead replicas could not be forgotten"),
    }
    match db.forget_old_keys().await {
        Ok(0) => {}
        Ok(gone) => tracing::info!(gone, "forgot idempotency keys older than a day"),
        Err(error) => tracing::warn!(%error, "old idempotency keys could not be forgotten"),
    }
    match db.forget_old_sessions().await {
        Ok(0) => {}
        Ok(gone) => tracing::debug!(gone, "forgot sessions and tickets that are over"),
        Err(error) => tracing::warn!(%error, "old sessions could not be forgotten"),
    }
}
