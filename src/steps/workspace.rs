//! Where a deployment's source lies while it is built: one folder per deployment, local to this replica.

use std::io;
use std::path::{Path, PathBuf};

use super::Context;

impl Context<'_> {
    /// The folder of this deployment's source. The id is our own (letters, digits, underscore): it is safe as a path.
    pub(super) fn workspace(&self) -> PathBuf {
        self.services.settings.workspace_dir.join(&self.deployment.id)
    }
}

/// Removes the source of `deployment_id`, and what fetches that were cut off left beside it; nothing there is fine.
pub async fn remove_workspace(workspace_dir: &Path, deployment_id: &str) -> io::Result<()> {
    remove(&workspace_dir.join(deployment_id)).await?;
    let mut entries = match tokio::fs::read_dir(workspace_dir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    while let Some(entry) = entries.next_entry().await? {
        if entry.file_name().to_str().and_then(fetched_for) == Some(deployment_id) {
            remove(&entry.path()).await?;
        }
    }
    Ok(())
}

/// The deployment that a folder in the workspace folder belongs to, by its name: its source, or a fetch that was cut off.
pub fn workspace_of(name: &str) -> Option<&str> {
    Some(fetched_for(name).unwrap_or(name)).filter(|id| id.starts_with("dep_"))
}

/// The deployment that the hidden folder `name` was a fetch for.
fn fetched_for(name: &str) -> Option<&str> {
    Some(name.strip_prefix('.')?.split_once(".fetch-")?.0)
}

async fn remove(folder: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fetch_that_was_cut_off_is_removed_with_its_deployments_source() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["dep_1", ".dep_1.fetch-x", "dep_2", ".dep_2.fetch-x", "other"] {
            std::fs::create_dir_all(folder.path().join(name).join("tree")).unwrap();
        }
        remove_workspace(folder.path(), "dep_1").await.unwrap();
        let left =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        assert_eq!(left, [".dep_2.fetch-x", "dep_2", "other"]);
        assert_eq!(
            left.iter().map(|name| workspace_of(name)).collect::<Vec<_>>(),
            [Some("dep_2"), Some("dep_2"), None]
        );
        remove_workspace(&folder.path().join("nowhere"), "dep_1").await.unwrap();
    }
}
