//! Hidden folder beside the workspace in which a fetch runs.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::wire::{HOME, TREE};
use super::{GitError, GitErrorKind};

/// Owner of the folder; dropping it removes the folder, on a blocking thread if there is a runtime.
pub(super) struct Folder {
    folder: Option<TempDir>,
    path: PathBuf,
}

impl Folder {
    /// Creates an empty folder beside `into`, and removes remains of earlier fetches there.
    pub(super) async fn prepare(into: &Path) -> Result<Self, GitError> {
        let into = into.to_owned();
        let prepared = tokio::task::spawn_blocking(move || prepare(&into)).await;
        let folder = prepared.map_err(GitError::unavailable)??;
        Ok(Self { path: folder.path().to_owned(), folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the fetched tree to `into`. The rename is atomic, also over an empty folder; it fails if anything else is there.
    pub(super) fn move_to(&self, into: &Path) -> Result<(), GitError> {
        fs::rename(self.path.join(TREE), into).map_err(|error| folder_error(into, &error))
    }

    /// Removes the folder with its content.
    pub(super) async fn remove(mut self) {
        if let Some(folder) = self.folder.take() {
            // Remains are removed by the next fetch to the same destination.
            let _ = tokio::task::spawn_blocking(move || drop(folder)).await;
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        // Removing a tree of 200,000 files would block a thread on which other tasks wait.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(folder));
        }
    }
}

fn folder_error(path: &Path, error: &std::io::Error) -> GitError {
    GitError::unavailable(format!("{}: {error}", path.display()))
}

/// Creates `folder` if it does not exist, accessible to this user only: other users of the machine must not read sources. A folder of another user is
/// refused, except root's: the owner of a folder in /tmp could replace files that Panda writes into it.
fn private_folder(folder: &Path) -> Result<(), GitError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let owner = made.and_then(|()| fs::metadata(folder)).map_err(|error| folder_error(folder, &error))?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let folder = folder.display();
        return Err(GitError::invalid(format!(
            "{folder} belongs to another user: set PANDA_WORKSPACE_DIR to a folder of this user"
        )));
    }
    Ok(())
}

fn prepare(into: &Path) -> Result<TempDir, GitError> {
    let (Some(parent), Some(name)) = (into.parent(), into.file_name()) else {
        return Err(GitError::invalid("the target folder has no parent"));
    };
    private_folder(parent)?;
    if fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("{} is not empty: remove it first", into.display());
        return Err(GitError::new(GitErrorKind::Conflict, message));
    }
    let prefix = format!(".{}.fetch-", name.to_string_lossy());
    for entry in fs::read_dir(parent).map_err(|error| folder_error(parent, &error))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Left by a crash or a cancelled fetch: nothing will use it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    let folder = folder.map_err(|error| folder_error(parent, &error))?;
    let home = fs::DirBuilder::new().mode(0o700).create(folder.path().join(HOME));
    home.map_err(|error| folder_error(folder.path(), &error))?;
    Ok(folder)
}
