//! The build context: which files of a repository a build may see, and the Dockerfile beside them.
//!
//! A folder of the repository is sent, without what the ignore file excludes and without any `.git`. Symbolic links are sent as links and never
//! followed, so nothing outside the folder gets in; sockets, pipes and devices are left out. What is sent depends on the commit alone: owner and
//! group are 0, modes are those that git knows (see [`Entry::mode`]), times are the commit's, the order is by name.
//!
//! The Dockerfile may lie outside the folder, and the ignore file may exclude it: a build reads it all the same, but COPY does not see it.
//! [`stream`] is the form that the classic builder takes; a client of BuildKit sends [`Context::entries`] itself.

mod entries;
mod files;
mod stream;

use std::{
    borrow::Cow,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use entries::{Entries, Entry, EntryKind};
pub(super) use stream::Pieces;

use super::ignore::{Descent, IgnoreError, IgnoreRules, MAX_FILE_BYTES, ParentMatches};
use crate::clients::workspace::{PathError, relative, resolve_file, shown};

/// The largest Dockerfile, in bytes.
const MAX_DOCKERFILE_BYTES: u64 = 1 << 20;

/// Why a build context is refused. Each is a mistake in the repository or the request, and names the file.
#[derive(Debug, Error)]
pub enum ContextError {
    /// The repository itself cannot be read.
    #[error("the repository cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The folder cannot be the context.
    #[error("the context folder {0}")]
    Folder(PathError),
    /// The Dockerfile cannot be read.
    #[error("the Dockerfile {0}")]
    Dockerfile(PathError),
    /// The ignore file is there and cannot be read; building without it would publish what it excludes.
    #[error("the ignore file {0}")]
    IgnoreFile(PathError),
    /// The ignore file has a line that cannot be used.
    #[error("the ignore file `{}`: {error}", shown(.path))]
    IgnoreRules {
        /// The file, relative to the repository's root.
        path: PathBuf,
        /// What is wrong.
        error: IgnoreError,
    },
    /// A file of the context cannot be read while it is sent.
    #[error("{0}")]
    Entry(String),
}

/// A checked build context.
#[derive(Debug)]
pub struct Context {
    /// The repository's root, canonical.
    root: PathBuf,
    /// The context folder, relative to the root; empty: the root.
    folder: PathBuf,
    /// The Dockerfile's regular file, relative to the root.
    dockerfile: PathBuf,
    dockerfile_bytes: Vec<u8>,
    ignore_file: Option<PathBuf>,
    ignore: IgnoreRules,
    descent: Descent,
}

impl Context {
    /// Checks and reads what decides over a context. `context_dir` and `dockerfile` are relative to `root`, the repository's root; an empty
    /// `context_dir` is the root. Blocking.
    pub fn open(root: &Path, context_dir: &Path, dockerfile: &Path, descent: Descent) -> Result<Self, ContextError> {
        let root = root.canonicalize()?;
        let folder = files::folder(&root, context_dir).map_err(ContextError::Folder)?;
        let target = resolve_file(&root, dockerfile).map_err(ContextError::Dockerfile)?;
        let dockerfile_bytes = files::read(&root, &target, MAX_DOCKERFILE_BYTES).map_err(ContextError::Dockerfile)?;
        let named = relative(dockerfile).map_err(ContextError::Dockerfile)?;
        let (ignore_file, ignore) = read_ignore(&root, &folder, &named, &target)?;
        Ok(Self { root, folder, dockerfile: target, dockerfile_bytes, ignore_file, ignore, descent })
    }

    /// The Dockerfile's bytes.
    pub fn dockerfile(&self) -> &[u8] {
        &self.dockerfile_bytes
    }

    /// The Dockerfile as text; what is not UTF-8 becomes U+FFFD.
    pub fn dockerfile_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.dockerfile_bytes)
    }

    /// The Dockerfile's regular file, relative to the repository's root.
    pub fn dockerfile_path(&self) -> &Path {
        &self.dockerfile
    }

    /// The ignore file that is in effect, relative to the repository's root.
    pub fn ignore_file(&self) -> Option<&Path> {
        self.ignore_file.as_deref()
    }

    /// The context folder, relative to the repository's root; empty: the root.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name under which the tar stream holds the Dockerfile: its path in the context, or, where COPY must not see it, a name that no file
    /// of the context has.
    pub fn dockerfile_name(&self) -> PathBuf {
        self.visible_dockerfile().map_or_else(|| self.hidden_name(), Path::to_owned)
    }

    /// The Dockerfile's path in the context, if COPY may see it.
    fn visible_dockerfile(&self) -> Option<&Path> {
        let inside = self.dockerfile.strip_prefix(&self.folder).ok()?;
        self.sends(inside).then_some(inside)
    }

    /// Derived from the Dockerfile, so that the same commit gives the same stream.
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

    /// Whether [`Self::entries`] has `path`, relative to the context folder.
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

    /// What is sent, without the Dockerfile where COPY must not see it. In Docker's order: by name, parents before their children.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(&self.base(), &self.ignore, self.descent)
    }

    /// Opens a file that [`Self::entries`] gave, by its path; one that became a link since is an error.
    pub fn open_file(&self, path: &Path) -> io::Result<std::fs::File> {
        files::open(&self.base().join(path))
    }

    fn base(&self) -> PathBuf {
        self.root.join(&self.folder)
    }
}

/// The ignore file in effect, and its rules: the Dockerfile's own before the folder's, as BuildKit has it.
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
        // BuildKit falls back to this name for the Dockerfile, but not for the file beside it.
        candidates.insert(0, beside(&named.with_file_name("Dockerfile")));
    }
    for path in candidates {
        match root.join(&path).symlink_metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            // Whatever else it is, somebody put it there to keep files out: it is read or nothing is built.
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
