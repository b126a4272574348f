//! Writes a commit's tree to disk with the bytes and modes of the commit, regardless of this machine's umask and git configuration. Attributes are
//! not applied (docs/decisions/0036-sources-in-a-child.md).

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use git2::{Odb, Oid, Repository};

use super::GitError;
use super::GitErrorKind::TreeRefused;
use super::tree::{EXECUTABLE, LINK, SUBMODULE, TREE, display_path};

/// Writes the inspected tree `root` into the new folder `into`, which is accessible to this user only. The process must have no umask.
pub(super) fn write(repository: &Repository, root: Oid, into: &Path) -> Result<(), GitError> {
    let failed = |error: git2::Error| GitError::of_objects(&error);
    let objects = repository.odb().map_err(failed)?;
    make_folder(into, 0o700)?;
    let mut folders: Vec<(Oid, PathBuf)> = vec![(root, into.to_owned())];
    while let Some((id, folder)) = folders.pop() {
        let tree = repository.find_tree(id).map_err(failed)?;
        for entry in &tree {
            let path = folder.join(OsStr::from_bytes(entry.name_bytes()));
            match entry.filemode() {
                TREE => {
                    make_folder(&path, 0o755)?;
                    folders.push((entry.id(), path));
                }
                SUBMODULE => make_folder(&path, 0o755)?,
                LINK => make_link(&objects, entry.id(), &path)?,
                EXECUTABLE => make_file(&objects, entry.id(), &path, 0o755)?,
                _ => make_file(&objects, entry.id(), &path, 0o644)?,
            }
        }
    }
    Ok(())
}

fn make_folder(path: &Path, mode: u32) -> Result<(), GitError> {
    DirBuilder::new().mode(mode).create(path).map_err(|error| GitError::of_file(&error))
}

fn make_file(objects: &Odb<'_>, id: Oid, path: &Path, mode: u32) -> Result<(), GitError> {
    let blob = objects.read(id).map_err(|error| GitError::of_objects(&error))?;
    // `create_new` never writes through an existing entry.
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(blob.data())).map_err(|error| GitError::of_file(&error))
}

fn make_link(objects: &Odb<'_>, id: Oid, path: &Path) -> Result<(), GitError> {
    let target = objects.read(id).map_err(|error| GitError::of_objects(&error))?;
    let target = OsStr::from_bytes(target.data());
    symlink(target, path).map_err(|error| match error.kind() {
        // Raised for an empty target, or a target with a NUL byte.
        std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidFilename => {
            let name = display_path(path.as_os_str().as_bytes());
            GitError::new(TreeRefused, format!("the link {name} has an invalid target"))
        }
        _ => GitError::of_file(&error),
    })
}
