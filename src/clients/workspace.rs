//! A fetched source tree.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{ClientError, ErrorKind};

/// The Dockerfile that is meant, relative to `root`: the root's own, else the shallowest, ties by path. Only a regular file
/// named exactly `Dockerfile` counts; links are not followed, and `.git` is not looked into. Blocking.
pub fn find_dockerfile(root: &Path) -> Result<Option<PathBuf>, ClientError> {
    let failed = |error: &dyn std::fmt::Display| ClientError::new(ErrorKind::Invalid, "find Dockerfile", error);
    let mut best: Option<(usize, PathBuf)> = None;
    let walk = WalkDir::new(root).min_depth(1).into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git") {
        let entry = entry.map_err(|error| failed(&error))?;
        if !entry.file_type().is_file() || entry.file_name() != "Dockerfile" {
            continue;
        }
        let path = entry.path().strip_prefix(root).map_err(|error| failed(&error))?.to_owned();
        let found = (entry.depth(), path);
        if best.as_ref().is_none_or(|best| found < *best) {
            best = Some(found);
        }
    }
    Ok(best.map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn found(files: &[&str]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        find_dockerfile(folder.path()).unwrap().map(|path| path.display().to_string())
    }

    #[test]
    fn the_root_comes_first_then_the_shallowest_then_the_name() {
        assert_eq!(found(&["a/Dockerfile", "Dockerfile"]).as_deref(), Some("Dockerfile"));
        assert_eq!(found(&["a/b/Dockerfile", "z/Dockerfile"]).as_deref(), Some("z/Dockerfile"));
        assert_eq!(found(&["b/Dockerfile", "a/Dockerfile"]).as_deref(), Some("a/Dockerfile"));
    }

    #[test]
    fn other_names_folders_and_git_do_not_count() {
        assert_eq!(found(&["dockerfile", "Dockerfile.dev", ".git/Dockerfile", "Dockerfile/readme"]), None);
    }

    #[test]
    fn links_are_not_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("Dockerfile"), "").unwrap();
        symlink(outside.path(), folder.path().join("linked")).unwrap();
        symlink(outside.path().join("Dockerfile"), folder.path().join("Dockerfile")).unwrap();
        assert_eq!(find_dockerfile(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_tree_that_is_not_there_is_an_error() {
        assert_eq!(find_dockerfile(Path::new("/nowhere/at/all")).unwrap_err().kind, ErrorKind::Invalid);
    }
}
