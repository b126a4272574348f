//! What has to be tidied now and then, by cron expressions.

use std::path::{Path, PathBuf};

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::db::Db;
use crate::steps::{Step, remove_workspace};

/// Every five minutes, at second 30.
const OFTEN: &str = "30 */5 * * * *";

/// Tidies until `stop`.
pub(super) async fn run(db: Db, workspace_dir: PathBuf, stop: CancellationToken) {
    let mut scheduler = match schedule(db, workspace_dir).await {
        Ok(scheduler) => scheduler,
        Err(error) => return tracing::error!(%error, "housekeeping could not be scheduled"),
    };
    stop.cancelled().await;
    if let Err(error) = scheduler.shutdown().await {
        tracing::debug!(%error, "housekeeping did not end cleanly");
    }
}

async fn schedule(db: Db, workspace_dir: PathBuf) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    scheduler
        .add(Job::new_async(OFTEN, move |_, _| {
            let (db, workspace_dir) = (db.clone(), workspace_dir.clone());
            Box::pin(async move { tidy(&db, &workspace_dir).await })
        })?)
        .await?;
    scheduler.start().await?;
    Ok(scheduler)
}

/// Forgets dead replicas, old idempotency keys and sessions, and removes workspaces that no build needs any more.
pub async fn tidy(db: &Db, workspace_dir: &Path) {
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
    let needless = match workspaces(workspace_dir).await {
        // The folder may be another replica's as well: the rows say what is still needed.
        Ok(found) => db.not_at_steps(&found, &Step::heavy_names()).await,
        Err(error) => return tracing::warn!(%error, "the workspaces could not be listed"),
    };
    for id in needless.unwrap_or_default() {
        tracing::info!(deployment = id, "removes a workspace that no build needs");
        if let Err(error) = remove_workspace(workspace_dir, &id).await {
            tracing::warn!(%error, deployment = id, "a workspace could not be removed");
        }
    }
}

/// Ids of the deployments that have a workspace. Only what we made: the folder is the operator's, and may hold other things.
async fn workspaces(workspace_dir: &Path) -> std::io::Result<Vec<String>> {
    let mut entries = match tokio::fs::read_dir(workspace_dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        found.extend(entry.file_name().to_str().filter(|name| name.starts_with("dep_")).map(str::to_owned));
    }
    Ok(found)
}
