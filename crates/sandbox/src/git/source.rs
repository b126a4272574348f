//! Files of a commit, and the validation of names, branches and paths.

use std::path::Path;

use super::error::GitError;

/// One file of a commit.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path relative to the repository's root, separated by `/`.
    pub path: String,
    /// Content of the file, or target of the link.
    pub contents: Vec<u8>,
    /// True to set the executable bit.
    pub executable: bool,
    /// True for a symbolic link to the path in `contents`.
    pub is_link: bool,
}

impl SourceFile {
    /// A regular file without the executable bit.
    pub fn new(path: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), contents: contents.into(), executable: false, is_link: false }
    }

    /// A symbolic link to `target`.
    pub fn link(path: impl Into<String>, target: impl Into<Vec<u8>>) -> Self {
        Self { is_link: true, ..Self::new(path, target) }
    }

    /// Reads all files below a folder, sorted by path. Skips links and `.git`.
    pub fn folder(folder: &Path) -> Result<Vec<Self>, GitError> {
        use std::os::unix::fs::PermissionsExt as _;
        let failed = |path: &Path, source: std::io::Error| GitError::File { path: path.to_path_buf(), source };
        let mut files = Vec::new();
        let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.file_name() != ".git") {
            let entry = entry.map_err(|error| failed(folder, error.into()))?;
            let path = entry.path();
            if !entry.file_type().is_file() {
                continue;
            }
            let relative = path.strip_prefix(folder).ok().and_then(Path::to_str).ok_or_else(|| GitError::Input {
                field: "path",
                problem: format!("{} is not UTF-8", path.display()),
            })?;
            let mode = std::fs::metadata(path).map_err(|error| failed(path, error))?.permissions().mode();
            let contents = std::fs::read(path).map_err(|error| failed(path, error))?;
            files.push(Self { path: relative.to_owned(), contents, executable: mode & 0o111 != 0, is_link: false });
        }
        Ok(files)
    }
}

pub(super) fn check_name(field: &'static str, name: &str, longest: usize, also: &[char]) -> Result<(), GitError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || also.contains(&c);
    // GitHub strips a final `.git` from a URL, so no name may end in it.
    let misleading = name.starts_with(['.', '-']) || name.to_ascii_lowercase().ends_with(".git");
    if name.is_empty() || name.len() > longest || !name.chars().all(allowed) || misleading {
        let problem = format!("{name:?} is not a name on GitHub (1 to {longest} letters, digits and {also:?})");
        return Err(GitError::Input { field, problem });
    }
    Ok(())
}

pub(super) fn check_branch(branch: &str) -> Result<(), GitError> {
    let valid = !branch.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{branch}"));
    let problem = || format!("{branch:?} is not a branch name");
    valid.then_some(()).ok_or_else(|| GitError::Input { field: "branch", problem: problem() })
}

pub(super) fn check_path(path: &str) -> Result<(), GitError> {
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.eq_ignore_ascii_case(".git");
    let problem = || format!("{path:?} is not a relative path inside a repository");
    path.split('/').all(part).then_some(()).ok_or_else(|| GitError::Input { field: "path", problem: problem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_names_branches_and_paths() {
        for name in ["", "..", ".", "-x", "a/b", "a\\b", "a b", "hello.git", "é", "a\0"] {
            assert!(check_name("repo", name, 100, &['-', '_', '.']).is_err(), "{name:?}");
        }
        check_name("repo", "hello.world_2-x", 100, &['-', '_', '.']).unwrap();
        for branch in ["", "-x", "a..b", "a b", "/a", "a/", "a.lock", "a:b"] {
            assert!(check_branch(branch).is_err(), "{branch:?}");
        }
        check_branch("feature/green").unwrap();
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", ".git/config", "a/.GIT/x"] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        check_path("src/main.rs").unwrap();
    }
}
