//! Removes files of this replica's machine: sources of builds that have ended, and images of ended deployments in the engine.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::RetentionContext;
use super::run_end::{RunEnd, RunError};
use crate::clients::ErrorKind;
use crate::clients::docker::LabelledImage;
use crate::db::maintenance::ClaimedRun;
use crate::domain::maintenance::{RetentionKind, RetentionRunState};
use crate::steps::{DEPLOYMENT_LABEL, Step, remove_workspace, workspace_of};

/// Removes the images or workspaces that no deployment needs, one by one.
pub(super) async fn work(
    context: &RetentionContext,
    run: &ClaimedRun,
    stop: &CancellationToken,
) -> Result<RunEnd, RunError> {
    let images = if run.kind == RetentionKind::Images { images(context, run).await? } else { Vec::new() };
    let folders = if run.kind == RetentionKind::Workspaces { folders(context).await? } else { Vec::new() };
    let mut failed = None;
    let unneeded = images.iter().map(Item::Image).chain(folders.iter().map(Item::Folder));
    for item in unneeded {
        if stop.is_cancelled() {
            return Ok(RunEnd::State(RetentionRunState::Stopped));
        }
        // An item that cannot be removed must not prevent the removal of the others.
        let removed = run.dry_run
            || remove(context, &item).await.unwrap_or_else(|error| {
                tracing::warn!(%error, kind = %run.kind, "workspace or image not removed");
                failed.get_or_insert(error);
                false
            });
        if !context.db.renew_maintenance(run.id, i64::from(removed)).await? {
            return Ok(RunEnd::Lost);
        }
        if removed && !run.dry_run {
            context.metrics.maintenance.removed(run.kind, 1);
        }
    }
    failed.map_or(Ok(RunEnd::State(RetentionRunState::Done)), Err)
}

enum Item<'a> {
    Image(&'a LabelledImage),
    /// The workspace of the deployment with this id.
    Folder(&'a String),
}

async fn remove(context: &RetentionContext, item: &Item<'_>) -> Result<bool, RunError> {
    match item {
        Item::Folder(id) => {
            tracing::info!(deployment = id, "removing a workspace that no build needs");
            let removed = remove_workspace(&context.workspace_dir, id).await;
            removed.map_err(|error| RunError::Folder(format!("the workspace of {id} cannot be removed: {error}")))?;
            Ok(true)
        }
        Item::Image(image) => {
            let mut removed = false;
            for name in image.names() {
                match context.docker.remove_image(name).await {
                    Ok(()) => {
                        tracing::info!(image = name, "removed an image of an ended deployment");
                        removed = true;
                    }
                    // Another replica removed it already, or a container uses it.
                    Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(removed)
        }
    }
}

/// Images with Panda's label whose deployment ended longer ago than the retention.
async fn images(context: &RetentionContext, run: &ClaimedRun) -> Result<Vec<LabelledImage>, RunError> {
    let Some(older_than) = run.older_than else { return Ok(Vec::new()) };
    let images = context.docker.labelled_images(DEPLOYMENT_LABEL).await?;
    let ids: Vec<String> = images.iter().map(|image| image.value.clone()).collect();
    let over = context.db.ended_before(&ids, older_than).await?;
    Ok(images.into_iter().filter(|image| over.contains(&image.value)).collect())
}

/// Ids of deployments that have a workspace here and are at no build step. Replicas may share the folder, so the rows decide, not this process.
async fn folders(context: &RetentionContext) -> Result<Vec<String>, RunError> {
    let found = workspaces(&context.workspace_dir).await.map_err(|error| {
        RunError::Folder(format!("the workspaces in {} cannot be listed: {error}", context.workspace_dir.display()))
    })?;
    Ok(context.db.not_at_steps(&found, &Step::heavy_names()).await?)
}

/// Ids of the deployments that have a workspace. Ignores files that Panda did not create: the folder belongs to the operator.
async fn workspaces(workspace_dir: &Path) -> std::io::Result<Vec<String>> {
    let mut entries = match tokio::fs::read_dir(workspace_dir).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        found.extend(entry.file_name().to_str().and_then(workspace_of).map(str::to_owned));
    }
    // An interrupted fetch leaves a second folder beside the deployment's source.
    found.sort();
    found.dedup();
    Ok(found)
}
