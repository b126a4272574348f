//! A fetched source tree: resolution of paths in it, and the search for its Dockerfile.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
};

use thiserror::Error;
use walkdir::WalkDir;

use crate::domain::text::{self, misleads};

/// Names of a Dockerfile: the usual one, and the fallback of `docker build`.
const NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// Maximum number of candidates that an error lists.
const MAX_LISTED_CANDIDATES: usize = 10;

/// Maximum length of a path in an error, in characters.
const MAX_PATH_CHARS: usize = 120;

/// A Dockerfile that was found. Paths are relative to the root of the source tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDockerfile {
    /// Path by which the file was requested or found; may be a link.
    pub path: PathBuf,
    /// Regular file that `path` leads to; equal to `path` unless that is a link.
    pub target: PathBuf,
}

/// Reason why no Dockerfile can be built. All but `Unreadable` are mistakes in the source tree.
#[derive(Debug, Error)]
pub enum DockerfileError {
    /// No Dockerfile, neither at the root nor below it.
    #[error("{0}")]
    NotFound(String),
    /// The Dockerfile was found or requested, but cannot be used.
    #[error("{0}")]
    Unusable(PathError),
    /// No Dockerfile at the root, and several candidates below it.
    #[error("{0}")]
    Ambiguous(Candidates),
    /// Reading the source tree failed.
    #[error("the source tree cannot be read: {0}")]
    Unreadable(String),
}

/// Reason why a path of a source tree is refused.
#[derive(Debug, Error)]
#[error("`{}` {reason}", display_path(.path))]
pub struct PathError {
    /// Path as the user gave it.
    pub path: PathBuf,
    /// Description of the problem, to follow the path in a sentence.
    pub reason: String,
}

impl PathError {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Candidate Dockerfiles, sorted by path.
#[derive(Debug)]
pub struct Candidates(Vec<PathBuf>);

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().take(MAX_LISTED_CANDIDATES).enumerate() {
            write!(f, "{}`{}`", if index == 0 { "" } else { ", " }, display_path(path))?;
        }
        match self.0.len().checked_sub(MAX_LISTED_CANDIDATES) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

/// Formats a path as one line of bounded length, whatever bytes it contains.
pub fn display_path(path: &Path) -> String {
    let clean = |c: char| if misleads(c) { char::REPLACEMENT_CHARACTER } else { c };
    let shown: String = path.to_string_lossy().chars().take(MAX_PATH_CHARS + 1).map(clean).collect();
    text::cut(&shown, MAX_PATH_CHARS)
}

/// Normalises `path`, relative to a tree's root, by removing `.`; refuses a path that leaves the tree textually or enters `.git`.
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

/// Resolves `path`, through any links, to a regular file, relative to the tree's root. The file must lie inside the tree, and `root` must be
/// canonical. Blocking.
pub fn resolve_file(root: &Path, path: &Path) -> Result<PathBuf, PathError> {
    let relative_path = relative(path)?;
    let full = root.join(&relative_path);
    let real = full.canonicalize().map_err(|error| PathError::new(path, resolution_error(&full, &error)))?;
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
            Err(PathError::new(path, format!("is a link to `{}`, which is a folder", display_path(target))))
        }
        (false, false, _) => Err(PathError::new(path, "is not a regular file")),
    }
}

fn resolution_error(full: &Path, error: &io::Error) -> String {
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

/// Finds the Dockerfile to build. Blocking.
///
/// 1. `requested`, if the user gave a path: that file or an error.
/// 2. `Dockerfile` at the root, otherwise `dockerfile`, in the order of `docker build`: that file, through links inside the tree, or an error.
/// 3. A file of such a name below the root, if it is the only candidate: no other file has that name, or is named `NAME.Dockerfile` or
///    `Dockerfile.NAME`. Otherwise an error that lists the candidates: a guess would ship another program.
///
/// Folders that are links are not entered, nor is `.git`.
pub fn find_dockerfile(root: &Path, requested: Option<&str>) -> Result<FoundDockerfile, DockerfileError> {
    let root = root.canonicalize().map_err(|error| DockerfileError::Unreadable(error.to_string()))?;
    let use_this = |path: &Path| match resolve_file(&root, path) {
        Ok(target) => Ok(FoundDockerfile { path: relative(path).map_err(DockerfileError::Unusable)?, target }),
        Err(error) => Err(DockerfileError::Unusable(error)),
    };
    if let Some(path) = requested {
        return use_this(Path::new(path));
    }
    for name in NAMES {
        // An entry of this name at the root is the intended one, whatever it is; nothing else is tried in its place.
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
                Some(path) => format!("; `{}` is not named so, names are case-sensitive", display_path(&path)),
                None => String::new(),
            };
            Err(DockerfileError::NotFound(format!("there is no file named `Dockerfile`{hint}")))
        }
        [only] => {
            let message =
                format!("there is no file named `Dockerfile`; `{}` must be named in the request", display_path(only));
            Err(DockerfileError::NotFound(message))
        }
        _ => Err(DockerfileError::Ambiguous(Candidates(candidates))),
    }
}

/// Finds all candidates, and one file whose name differs from a candidate's only in case.
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
        if is_candidate(name) {
            candidates.push(path().map_err(|error| unreadable(&error))?);
        } else if similar.is_none() && name.eq_ignore_ascii_case(NAMES[0]) {
            similar = Some(path().map_err(|error| unreadable(&error))?);
        }
    }
    Ok((candidates, similar))
}

fn is_candidate(name: &str) -> bool {
    let is_named = |exact: &str| {
        let rest = name.strip_prefix(exact).map(|rest| rest.is_empty() || rest.starts_with('.'));
        rest.unwrap_or(false) || name.strip_suffix(exact).is_some_and(|rest| rest.ends_with('.'))
    };
    NAMES.into_iter().any(is_named) && !name.ends_with(".dockerignore")
}

#[cfg(test)]
mod tests;
