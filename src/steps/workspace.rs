//! Workspace of a deployment: one folder with the source while it is built, local to this replica.

use std::io;
use std::path::{Path, PathBuf};

use super::StepContext;

impl StepContext<'_> {
    /// Returns the folder of this deployment's source. Panda generates the id (letters, digits, underscore), so it is safe as a path.
    pub(super) fn workspace(&self) -> PathBuf {
        self.services.settings.workspace_dir.join(&self.deployment.id)
    }
}

/// Removes the source of `deployment_id` and remains of interrupted fetches beside it; succeeds if there is nothing.
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

/// Returns the id of the deployment to which a folder in the workspace folder belongs by its name: the source, or an interrupted fetch.
pub fn workspace_of(name: &str) -> Option<&str> {
    Some(fetched_for(name).unwrap_or(name)).filter(|id| id.starts_with("dep_"))
}

/// Returns the id of the deployment for which the hidden folder `name` was a fetch.
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
    async fn removes_interrupted_fetches_with_the_source() {
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
