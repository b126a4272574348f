//! Opens folders and small files of a repository without following links.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::bounded::{self, ReadError};
use crate::clients::workspace::{PathError, relative};

/// Resolves the folder `path`, relative to the canonical `root`. Neither the folder nor one of its parents may be a link.
pub(super) fn folder(root: &Path, path: &Path) -> Result<PathBuf, PathError> {
    let refused = |reason: String| PathError { path: path.to_owned(), reason };
    let folder = relative(path)?;
    let full = root.join(&folder);
    let real = full.canonicalize().map_err(|error| refused(format!("cannot be used: {error}")))?;
    if real != full {
        return Err(refused("is a link, or lies behind one".into()));
    }
    if !real.is_dir() {
        return Err(refused("is not a folder".into()));
    }
    Ok(folder)
}

/// Opens a regular file for reading; a link is an error.
pub(super) fn open(path: &Path) -> std::io::Result<fs::File> {
    // Without `O_NONBLOCK`, opening a pipe would wait for a writer.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is not a regular file")) }
}

/// Reads a regular file of at most `max` bytes.
pub(super) fn read(root: &Path, path: &Path, max: u64) -> Result<Vec<u8>, PathError> {
    let refused = |reason: String| PathError { path: path.to_owned(), reason };
    let file = open(&root.join(path)).map_err(|error| refused(format!("cannot be read: {error}")))?;
    bounded::all(file, max).map_err(|error| match error {
        ReadError::TooLong(max) => refused(format!("is larger than {max} bytes")),
        error => refused(format!("cannot be read: {error}")),
    })
}
