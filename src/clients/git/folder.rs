//! The hidden folder beside the workspace in which a fetch happens.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::wire::{HOME, TREE};
use super::{GitError, GitErrorKind};

/// The folder; dropping it removes it, on another thread where there is one.
pub(super) struct Folder {
    folder: Option<TempDir>,
    path: PathBuf,
}

impl Folder {
    /// An empty folder beside `into`; what earlier fetches left there is removed.
    pub(super) async fn prepare(into: &Path) -> Result<Self, GitError> {
        let into = into.to_owned();
        let prepared = tokio::task::spawn_blocking(move || prepare(&into)).await;
        let folder = prepared.map_err(GitError::unavailable)??;
        Ok(Self { path: folder.path().to_owned(), folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the fetched tree to `into`. Over an empty folder rename is atomic too; over anything else it fails.
    pub(super) fn place(&self, into: &Path) -> Result<(), GitError> {
        fs::rename(self.path.join(TREE), into).map_err(|error| unusable(into, &error))
    }

    /// Removes it, with all that is in it.
    pub(super) async fn remove(mut self) {
        if let Some(folder) = self.folder.take() {
            // What stays is removed by the next fetch to the same place.
            let _ = tokio::task::spawn_blocking(move || drop(folder)).await;
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        // A tree of 200,000 files is not removed on a thread that others wait for.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(folder));
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> GitError {
    GitError::unavailable(format!("{}: {error}", path.display()))
}

/// Makes `folder` when it is not there, for this user alone: sources are not everybody's on the machine. One that is another user's is
/// refused, root's excepted: the owner of a folder in /tmp may put something else in the place of what we write into it.
fn private_folder(folder: &Path) -> Result<(), GitError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let owner = made.and_then(|()| fs::metadata(folder)).map_err(|error| unusable(folder, &error))?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let folder = folder.display();
        return Err(GitError::invalid(format!(
            "{folder} belongs to another user: give a folder of your own (PANDA_WORKSPACE_DIR)"
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
    for entry in fs::read_dir(parent).map_err(|error| unusable(parent, &error))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Left by a crash, or by a fetch that was cancelled: nobody will use it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    let folder = folder.map_err(|error| unusable(parent, &error))?;
    let home = fs::DirBuilder::new().mode(0o700).create(folder.path().join(HOME));
    home.map_err(|error| unusable(folder.path(), &error))?;
    Ok(folder)
}
