//! What is on this replica's machine: sources of builds that are over, images that the engine still has.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::Parts;
use super::run::{End, RunError};
use crate::clients::ErrorKind;
use crate::clients::docker::LabelledImage;
use crate::db::maintenance::Run;
use crate::domain::maintenance::{Kind, State};
use crate::steps::{DEPLOYMENT_LABEL, Step, remove_workspace, workspace_of};

/// Removes what is not needed, one by one.
pub(super) async fn work(parts: &Parts, run: &Run, stop: &CancellationToken) -> Result<End, RunError> {
    let images = if run.kind == Kind::Images { images(parts, run).await? } else { Vec::new() };
    let folders = if run.kind == Kind::Workspaces { folders(parts).await? } else { Vec::new() };
    let mut failed = None;
    let needless = images.iter().map(What::Image).chain(folders.iter().map(What::Folder));
    for what in needless {
        if stop.is_cancelled() {
            return Ok(End::Now(State::Stopped));
        }
        // One that cannot be removed must not keep the others.
        let removed = run.dry_run
            || remove(parts, &what).await.unwrap_or_else(|error| {
                tracing::warn!(%error, kind = %run.kind, "something could not be removed");
                failed.get_or_insert(error);
                false
            });
        if !parts.db.renew_maintenance(run.id, i64::from(removed)).await? {
            return Ok(End::Lost);
        }
        if removed && !run.dry_run {
            parts.metrics.maintenance.removed(run.kind, 1);
        }
    }
    failed.map_or(Ok(End::Now(State::Done)), Err)
}

enum What<'a> {
    /// An image.
    Image(&'a LabelledImage),
    /// The source of this deployment.
    Folder(&'a String),
}

async fn remove(parts: &Parts, what: &What<'_>) -> Result<bool, RunError> {
    match what {
        What::Folder(id) => {
            tracing::info!(deployment = id, "removes a workspace that no build needs");
            let removed = remove_workspace(&parts.workspace_dir, id).await;
            removed.map_err(|error| RunError::Folder(format!("the workspace of {id} cannot be removed: {error}")))?;
            Ok(true)
        }
        What::Image(image) => {
            let mut removed = false;
            for name in image.names() {
                match parts.docker.remove_image(name).await {
                    Ok(()) => {
                        tracing::info!(image = name, "removed an image whose deployment is over");
                        removed = true;
                    }
                    // Somebody else was faster, or a container uses it.
                    Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(removed)
        }
    }
}

/// Images of ours whose deployment ended long enough ago.
async fn images(parts: &Parts, run: &Run) -> Result<Vec<LabelledImage>, RunError> {
    let Some(older_than) = run.older_than else { return Ok(Vec::new()) };
    let images = parts.docker.labelled_images(DEPLOYMENT_LABEL).await?;
    let ids: Vec<String> = images.iter().map(|image| image.value.clone()).collect();
    let over = parts.db.ended_before(&ids, older_than).await?;
    Ok(images.into_iter().filter(|image| over.contains(&image.value)).collect())
}

/// Deployments whose source lies here, and that no build needs. The folder may be another replica's as well: the rows say what is needed.
async fn folders(parts: &Parts) -> Result<Vec<String>, RunError> {
    let found = workspaces(&parts.workspace_dir).await.map_err(|error| {
        RunError::Folder(format!("the workspaces in {} cannot be listed: {error}", parts.workspace_dir.display()))
    })?;
    Ok(parts.db.not_at_steps(&found, &Step::heavy_names()).await?)
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
        found.extend(entry.file_name().to_str().and_then(workspace_of).map(str::to_owned));
    }
    // A fetch that was cut off lies beside the deployment's source.
    found.sort();
    found.dedup();
    Ok(found)
}
