//! A fetched source tree: which file in it a path names, and which Dockerfile is built.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
};

use thiserror::Error;
use walkdir::WalkDir;

use crate::domain::text::misleads;

/// The name of a Dockerfile, and the one that `docker build` falls back to.
const NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// The most candidates that an error names.
const MAX_NAMED: usize = 10;

/// The longest path in an error, in characters.
const MAX_PATH_CHARS: usize = 120;

/// The Dockerfile of a source tree. Paths are relative to the tree's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The path by which it was named or found; may be a link.
    pub path: PathBuf,
    /// The regular file that `path` leads to; the same unless `path` is a link.
    pub target: PathBuf,
}

/// Why there is no Dockerfile to build. A tree's own mistakes; `Unreadable` is not.
#[derive(Debug, Error)]
pub enum DockerfileError {
    /// None at the root, and none below it.
    #[error("{0}")]
    NotFound(String),
    /// The one that is meant cannot be used.
    #[error("{0}")]
    Unusable(PathError),
    /// None at the root, and several files below it that could be meant.
    #[error("{0}")]
    Ambiguous(Candidates),
    /// The tree cannot be read.
    #[error("the source tree cannot be read: {0}")]
    Unreadable(String),
}

/// Why a path of a source tree is not used.
#[derive(Debug, Error)]
#[error("`{}` {reason}", shown(.path))]
pub struct PathError {
    /// The path, as it was given.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl PathError {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Files that could be meant, sorted.
#[derive(Debug)]
pub struct Candidates(Vec<PathBuf>);

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().take(MAX_NAMED).enumerate() {
            write!(f, "{}`{}`", if index == 0 { "" } else { ", " }, shown(path))?;
        }
        match self.0.len().checked_sub(MAX_NAMED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

/// A path in one line of bounded length, whatever its bytes are.
pub fn shown(path: &Path) -> String {
    let clean = |c: char| if misleads(c) { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = path.to_string_lossy().chars().take(MAX_PATH_CHARS + 1).map(clean).collect();
    crate::domain::text::cut(&text, MAX_PATH_CHARS)
}

/// `path`, relative to a tree's root, without `.`; refuses what leads out of the tree by its text alone, and what is git's.
pub fn relative(path: &Path) -> Result<PathBuf, PathError> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if name == ".git" => return Err(PathError::new(path, "is inside `.git`")),
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                return Err(PathError::new(path, "contains `..`: name it from the repository's root"));
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(PathError::new(path, "is absolute: name it relative to the repository's root"));
            }
        }
    }
    Ok(clean)
}

/// The regular file that `path` leads to, over any links, relative to the tree's root. It must lie inside the tree. `root` is canonical.
/// Blocking.
pub fn resolve_file(root: &Path, path: &Path) -> Result<PathBuf, PathError> {
    let relative_path = relative(path)?;
    let full = root.join(&relative_path);
    let real = full.canonicalize().map_err(|error| PathError::new(path, unresolved(&full, &error)))?;
    let Ok(target) = real.strip_prefix(root) else {
        return Err(PathError::new(path, "is a link that leads out of the repository"));
    };
    if target.components().any(|part| part.as_os_str() == ".git") {
        return Err(PathError::new(path, "is a link into `.git`"));
    }
    let is_link = target != relative_path;
    let meta = real.symlink_metadata().map_err(|error| PathError::new(path, error))?;
    match (meta.is_file(), meta.is_dir(), is_link) {
        (true, ..) => Ok(target.to_owned()),
        (false, true, false) => Err(PathError::new(path, "is a folder")),
        (false, true, true) => {
            Err(PathError::new(path, format!("is a link to `{}`, which is a folder", shown(target))))
        }
        (false, false, _) => Err(PathError::new(path, "is not a regular file")),
    }
}

fn unresolved(full: &Path, error: &io::Error) -> String {
    let is_link = full.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    let is_circle = error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32);
    match (is_link, error.kind()) {
        (true, io::ErrorKind::NotFound) => "is a link to a file that does not exist".to_owned(),
        (true, _) if is_circle => "is a link that leads in a circle".to_owned(),
        (true, _) => format!("is a link that cannot be followed: {error}"),
        (false, io::ErrorKind::NotFound) => "does not exist".to_owned(),
        (false, _) => format!("cannot be read: {error}"),
    }
}

/// The Dockerfile to build. Blocking.
///
/// 1. `requested`, when the caller was given a path: that file or an error.
/// 2. `Dockerfile` in the root, else `dockerfile` there, as `docker build` looks them up: that file, over links inside the tree, or an error.
/// 3. A file named so below the root, if no other file could be meant: neither another of that name, nor `NAME.Dockerfile`,
///    `Dockerfile.NAME`. Otherwise an error that lists them: a guess would ship another program.
///
/// Folders that are links are not entered, nor is `.git`.
pub fn find_dockerfile(root: &Path, requested: Option<&str>) -> Result<Found, DockerfileError> {
    let root = root.canonicalize().map_err(|error| DockerfileError::Unreadable(error.to_string()))?;
    let use_this = |path: &Path| match resolve_file(&root, path) {
        Ok(target) => Ok(Found { path: relative(path).map_err(DockerfileError::Unusable)?, target }),
        Err(error) => Err(DockerfileError::Unusable(error)),
    };
    if let Some(path) = requested {
        return use_this(Path::new(path));
    }
    for name in NAMES {
        // Whatever it is: what stands at the root under this name is meant, and nothing else is tried in its place.
        if root.join(name).symlink_metadata().is_ok() {
            return use_this(Path::new(name));
        }
    }
    let (mut candidates, similar) = search(&root)?;
    candidates.sort();
    let is_exact = |path: &Path| path.file_name().is_some_and(|name| NAMES.iter().any(|exact| name == *exact));
    match candidates.as_slice() {
        [only] if is_exact(only) => use_this(only),
        [] => {
            let hint = match similar {
                Some(path) => format!("; `{}` is not named as one, case counts", shown(&path)),
                None => String::new(),
            };
            Err(DockerfileError::NotFound(format!("there is no file named `Dockerfile`{hint}")))
        }
        [only] => {
            let message =
                format!("there is no file named `Dockerfile`; `{}` must be named in the request", shown(only));
            Err(DockerfileError::NotFound(message))
        }
        _ => Err(DockerfileError::Ambiguous(Candidates(candidates))),
    }
}

/// Files that could be meant, and one that is named almost so.
fn search(root: &Path) -> Result<(Vec<PathBuf>, Option<PathBuf>), DockerfileError> {
    let unreadable = |error: &dyn fmt::Display| DockerfileError::Unreadable(error.to_string());
    let (mut candidates, mut similar) = (Vec::new(), None);
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git") {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let kind = entry.file_type();
        let Some(name) = entry.file_name().to_str() else { continue };
        if !(kind.is_file() || kind.is_symlink()) {
            continue;
        }
        let path = || entry.path().strip_prefix(root).map(Path::to_owned);
        if could_be_meant(name) {
            candidates.push(path().map_err(|error| unreadable(&error))?);
        } else if similar.is_none() && name.eq_ignore_ascii_case(NAMES[0]) {
            similar = Some(path().map_err(|error| unreadable(&error))?);
        }
    }
    Ok((candidates, similar))
}

fn could_be_meant(name: &str) -> bool {
    let is_named = |exact: &str| {
        let rest = name.strip_prefix(exact).map(|rest| rest.is_empty() || rest.starts_with('.'));
        rest.unwrap_or(false) || name.strip_suffix(exact).is_some_and(|rest| rest.ends_with('.'))
    };
    NAMES.into_iter().any(is_named) && !name.ends_with(".dockerignore")
}

#[cfg(test)]
mod tests;
