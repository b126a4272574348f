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

/// Removes the source of `deployment_id`; nothing there is fine.
pub async fn remove_workspace(workspace_dir: &Path, deployment_id: &str) -> io::Result<()> {
    match tokio::fs::remove_dir_all(workspace_dir.join(deployment_id)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
