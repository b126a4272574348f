//! The build context: the files of a repository that a build may see, and the Dockerfile.
//!
//! A context is one folder of the repository, without the files that the ignore file excludes and without any `.git`. Symbolic links are sent as
//! links and never followed, so no content from outside the folder gets in; sockets, pipes and devices are skipped. The content sent depends on the
//! commit alone: owner and group are 0, modes are those that git stores (see [`ContextEntry::mode`]), times are the commit's, and the order is by name.
//!
//! The Dockerfile may lie outside the folder, and the ignore file may exclude it: a build reads it anyway, but COPY does not see it. [`stream`]
//! produces the form for the classic builder; the BuildKit client sends [`BuildContext::entries`] itself.

mod entries;
mod files;
mod ignore;
mod stream;

use std::{
    borrow::Cow,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use entries::{ContextEntry, Entries, EntryKind};
pub use ignore::Descent;
pub(super) use stream::TarChunks;

use ignore::{IgnoreError, IgnoreRules, MAX_FILE_BYTES, ParentMatches};

use crate::clients::workspace::{PathError, display_path, relative, resolve_file};

/// Maximum size of a Dockerfile, in bytes.
const MAX_DOCKERFILE_BYTES: u64 = 1 << 20;

/// Reason why a build context is refused. Each is a mistake in the repository or the request, and names the file.
#[derive(Debug, Error)]
pub enum ContextError {
    /// Reading the repository itself failed.
    #[error("the repository cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The requested folder cannot be a context.
    #[error("the context folder {0}")]
    Folder(PathError),
    /// The Dockerfile cannot be read, or is too large.
    #[error("the Dockerfile {0}")]
    Dockerfile(PathError),
    /// The ignore file exists and cannot be read; building without it would publish the files that it excludes.
    #[error("the ignore file {0}")]
    IgnoreFile(PathError),
    /// A line of the ignore file is invalid.
    #[error("the ignore file `{}`: {error}", display_path(.path))]
    IgnoreRules {
        /// Path of the ignore file, relative to the repository's root.
        path: PathBuf,
        /// The invalid line and the problem.
        error: IgnoreError,
    },
    /// Reading a file of the context failed while sending it.
    #[error("{0}")]
    Entry(String),
}

/// A validated build context.
#[derive(Debug)]
pub struct BuildContext {
    /// Canonical path of the repository's root.
    root: PathBuf,
    /// Context folder, relative to the root; empty for the root itself.
    folder: PathBuf,
    /// Regular file with the Dockerfile's content, relative to the root.
    dockerfile: PathBuf,
    dockerfile_bytes: Vec<u8>,
    ignore_file: Option<PathBuf>,
    ignore: IgnoreRules,
    descent: Descent,
}

impl BuildContext {
    /// Opens a context: checks its folder, and reads the Dockerfile and the ignore file. `context_dir` and `dockerfile` are relative to `root`, the
    /// repository's root; an empty `context_dir` means the root itself. Blocking.
    pub fn open(root: &Path, context_dir: &Path, dockerfile: &Path, descent: Descent) -> Result<Self, ContextError> {
        let root = root.canonicalize()?;
        let folder = files::folder(&root, context_dir).map_err(ContextError::Folder)?;
        let target = resolve_file(&root, dockerfile).map_err(ContextError::Dockerfile)?;
        let dockerfile_bytes = files::read(&root, &target, MAX_DOCKERFILE_BYTES).map_err(ContextError::Dockerfile)?;
        let named = relative(dockerfile).map_err(ContextError::Dockerfile)?;
        let (ignore_file, ignore) = read_ignore(&root, &folder, &named, &target)?;
        Ok(Self { root, folder, dockerfile: target, dockerfile_bytes, ignore_file, ignore, descent })
    }

    /// Returns the content of the Dockerfile as bytes.
    pub fn dockerfile(&self) -> &[u8] {
        &self.dockerfile_bytes
    }

    /// Returns the content of the Dockerfile as text; invalid UTF-8 becomes U+FFFD.
    pub fn dockerfile_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.dockerfile_bytes)
    }

    /// Returns the Dockerfile's regular file, relative to the repository's root.
    pub fn dockerfile_path(&self) -> &Path {
        &self.dockerfile
    }

    /// Returns the ignore file in effect, relative to the repository's root.
    pub fn ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }

    /// Returns the context folder, relative to the repository's root; empty for the root itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the name of the Dockerfile in the tar stream: its path in the context or, if COPY must not see it, a name that no file of the context
    /// has.
    pub fn dockerfile_name(&self) -> PathBuf {
        self.visible_dockerfile().map_or_else(|| self.hidden_name(), Path::to_owned)
    }

    /// Returns the Dockerfile's path in the context, if COPY may see it.
    fn visible_dockerfile(&self) -> Option<&Path> {
        let inside = self.dockerfile.strip_prefix(&self.folder).ok()?;
        self.sends(inside).then_some(inside)
    }

    /// Derives a name from the Dockerfile's content, so that the same commit gives the same stream.
    fn hidden_name(&self) -> PathBuf {
        let mut seed = Sha256::new_with_prefix(&self.dockerfile_bytes);
        loop {
            let digest = seed.clone().finalize();
            let name = PathBuf::from(format!(".dockerfile.{}", &hex::encode(digest)[..20]));
            if self.base().join(&name).symlink_metadata().is_err() {
                return name;
            }
            seed.update(digest);
        }
    }

    /// Reports whether [`Self::entries`] contains `path`, relative to the context folder.
    fn sends(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let mut parent = ParentMatches::default();
        for (end, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let (excluded, matches) = self.ignore.excludes(&bytes[..end], &parent);
            if excluded && !self.ignore.may_hold_exceptions(&bytes[..end], self.descent) {
                return false;
            }
            parent = matches;
        }
        !self.ignore.excludes(bytes, &parent).0
    }

    /// Iterates over the entries to send, without the Dockerfile if COPY must not see it. The order is Docker's: by name, parents before their
    /// children.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(&self.base(), &self.ignore, self.descent)
    }

    /// Opens a file of [`Self::entries`] by its path; a file that has become a link meanwhile is an error.
    pub fn open_file(&self, path: &Path) -> io::Result<std::fs::File> {
        files::open(&self.base().join(path))
    }

    fn base(&self) -> PathBuf {
        self.root.join(&self.folder)
    }
}

/// Finds and parses the ignore file: like BuildKit, the one of the Dockerfile takes precedence over the one of the folder.
fn read_ignore(
    root: &Path,
    folder: &Path,
    named: &Path,
    target: &Path,
) -> Result<(Option<PathBuf>, IgnoreRules), ContextError> {
    let beside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    };
    let mut candidates = vec![beside(named), beside(target), folder.join(".dockerignore")];
    if named.file_name().is_some_and(|name| name == "dockerfile") {
        // For the Dockerfile BuildKit falls back to this name, but not for the ignore file beside it.
        candidates.insert(0, beside(&named.with_file_name("Dockerfile")));
    }
    for path in candidates {
        match root.join(&path).symlink_metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            // Any other kind of entry was also put there to keep files out: unless it can be read, nothing is built.
            _ => {}
        }
        let target = resolve_file(root, &path).map_err(ContextError::IgnoreFile)?;
        let bytes = files::read(root, &target, MAX_FILE_BYTES)
            .map_err(|error| ContextError::IgnoreFile(PathError { path: path.clone(), ..error }))?;
        let rules = IgnoreRules::parse(&bytes);
        let rules = rules.map_err(|error| ContextError::IgnoreRules { path: path.clone(), error })?;
        return Ok((Some(path), rules));
    }
    Ok((None, IgnoreRules::default()))
}

#[cfg(test)]
mod tests;
