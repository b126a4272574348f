//! Inspects a commit's tree before any of it is written to disk: a few kilobytes of pack can expand to billions of files, and names can point outside
//! the folder.

use std::collections::HashSet;

use git2::{Odb, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::{GitError, GitErrorKind, GitLimits};
use crate::domain::text;

/// Maximum depth of folders.
const MAX_DEPTH: usize = 64;
/// Maximum length of a path in bytes: a quarter of what Linux accepts.
const MAX_PATH_BYTES: usize = 1_024;
/// Maximum length of a symbolic link's target, in bytes.
const MAX_LINK_BYTES: usize = 4_096;
/// Maximum size of a folder in git's format, in bytes: folders are read as a whole.
const MAX_FOLDER_BYTES: usize = 64 << 20;
/// Maximum size of a Git LFS pointer file in bytes, from its specification.
const MAX_POINTER_BYTES: usize = 1_024;
/// First line of every Git LFS pointer file.
const LFS_POINTER_PREFIX: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// Number of paths listed in [`LeftOut`].
const MAX_LISTED_PATHS: usize = 5;

pub(super) const TREE: i32 = 0o040_000;
pub(super) const EXECUTABLE: i32 = 0o100_755;
pub(super) const LINK: i32 = 0o120_000;
pub(super) const SUBMODULE: i32 = 0o160_000;

/// References of a commit that a fetch does not resolve: submodules become empty folders, Git LFS files stay pointer files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LeftOut {
    /// Number of submodules, left as empty folders.
    pub submodules: usize,
    /// Number of Git LFS files, left as pointer files.
    pub lfs_files: usize,
    /// The first five paths concerned.
    pub paths: Vec<String>,
}

impl LeftOut {
    fn note(&mut self, path: &[u8]) {
        if self.paths.len() < MAX_LISTED_PATHS {
            self.paths.push(String::from_utf8_lossy(path).into_owned());
        }
    }
}

/// Inspects the tree `root`; fails if it must not be written to disk.
pub(super) fn inspect(repository: &Repository, root: Oid, limits: &GitLimits) -> Result<LeftOut, GitError> {
    let odb = repository.odb().map_err(|error| GitError::of_objects(&error))?;
    let mut look = TreeInspector { repository, odb, limits, entries: 0, bytes: 0, left_out: LeftOut::default() };
    let mut folders = vec![(root, Vec::new(), 1)];
    while let Some((id, path, depth)) = folders.pop() {
        look.folder(id, &path, depth, &mut folders)?;
    }
    Ok(look.left_out)
}

type Folders = Vec<(Oid, Vec<u8>, usize)>;

struct TreeInspector<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    limits: &'a GitLimits,
    entries: usize,
    bytes: usize,
    left_out: LeftOut,
}

impl TreeInspector<'_> {
    fn folder(&mut self, id: Oid, path: &[u8], depth: usize, folders: &mut Folders) -> Result<(), GitError> {
        let refused = |what: String| Err(GitError::new(GitErrorKind::TreeRefused, what));
        let failed = |error: git2::Error| GitError::of_objects(&error);
        if depth > MAX_DEPTH {
            return refused(format!("the repository's folders are more than {MAX_DEPTH} deep: {}", display_path(path)));
        }
        if self.odb.read_header(id).map_err(failed)?.0 > MAX_FOLDER_BYTES {
            return refused(format!("the repository's folder {} is too large", display_path(path)));
        }
        let tree = self.repository.find_tree(id).map_err(failed)?;
        let mut names = HashSet::new();
        for entry in &tree {
            self.entries += 1;
            if self.entries > self.limits.max_files {
                return Err(GitError::too_large(too_many(self.limits.max_files)));
            }
            let name = entry.name_bytes();
            let mut full = path.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(name);
            if full.len() > MAX_PATH_BYTES || name.len() > 255 {
                return refused(format!(
                    "the repository has a path of more than {MAX_PATH_BYTES} bytes, or a name of more than 255"
                ));
            }
            // A repeated name could be a link first and then a folder, which would be written through the link.
            if !is_plain(name) || !names.insert(name.to_vec()) {
                return refused(format!(
                    "the repository has a path that git itself would not create: {}",
                    display_path(&full)
                ));
            }
            match entry.filemode() {
                TREE => folders.push((entry.id(), full, depth + 1)),
                SUBMODULE => {
                    self.left_out.submodules += 1;
                    self.left_out.note(&full);
                }
                mode => self.file(entry.id(), mode == LINK, &full)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, id: Oid, is_link: bool, path: &[u8]) -> Result<(), GitError> {
        let failed = |error: git2::Error| GitError::of_objects(&error);
        let (size, max) = (self.odb.read_header(id).map_err(failed)?.0, self.limits.max_file_bytes);
        if size > max {
            let path = display_path(path);
            return Err(GitError::too_large(format!(
                "the file {path} has {size} bytes, more than {max} (PANDA_SOURCE_MAX_FILE_BYTES)"
            )));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.max_bytes {
            return Err(GitError::too_large(too_large(self.limits.max_bytes)));
        }
        if is_link && size > MAX_LINK_BYTES {
            let message = format!("the link {} is longer than {MAX_LINK_BYTES} bytes", display_path(path));
            return Err(GitError::new(GitErrorKind::TreeRefused, message));
        }
        if !is_link
            && size <= MAX_POINTER_BYTES
            && self.odb.read(id).map_err(failed)?.data().starts_with(LFS_POINTER_PREFIX)
        {
            self.left_out.lfs_files += 1;
            self.left_out.note(path);
        }
        Ok(())
    }
}

/// Message for a repository with more than `most` files and folders.
pub(super) fn too_many(max: usize) -> String {
    format!("the repository has more than {max} files and folders (PANDA_SOURCE_MAX_FILES)")
}

/// Message for a repository with more than `most` bytes, packed or unpacked.
pub(super) fn too_large(max: usize) -> String {
    format!("the repository is larger than {max} bytes (PANDA_SOURCE_MAX_BYTES)")
}

/// Reports whether git itself could create the name: it is not special on this system, nor an equivalent of a special name on another.
fn is_plain(name: &[u8]) -> bool {
    let text = String::from_utf8_lossy(name).to_lowercase();
    // HFS+ ignores these characters; NTFS ignores text after a colon, and trailing dots and spaces.
    let bare: String = text
        .chars()
        .filter(
            |c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'),
        )
        .collect();
    let bare = bare.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    !name.is_empty()
        && !name.contains(&b'/')
        && !name.contains(&0)
        && name != b"."
        && name != b".."
        && bare != ".git"
        && bare != "git~1"
}

/// Formats a path for a message.
pub(super) fn display_path(path: &[u8]) -> String {
    text::cut(&String::from_utf8_lossy(path), 200).chars().flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Repository;
    use tempfile::TempDir;

    /// Creates a bare object store for trees that git itself would not create.
    fn store() -> (TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        (folder, repository)
    }

    /// Creates a tree of `(mode, name, id)` as bytes: git's own builder would refuse the names.
    fn tree(repository: &Repository, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(id.as_bytes());
        }
        repository.odb().unwrap().write(git2::ObjectType::Tree, &bytes).unwrap()
    }

    fn inspect_tree(repository: &Repository, root: Oid, limits: &GitLimits) -> Result<LeftOut, String> {
        inspect(repository, root, limits).map_err(|error| error.to_string())
    }

    #[test]
    fn refuses_special_names() {
        let (_folder, repository) = store();
        let file = repository.blob(b"x").unwrap();
        let names = include_str!("../../../tests/it/hostile_inputs/tree_names.txt")
            .lines()
            .filter(|line| !line.starts_with('#'));
        for name in names.map(|name| name.replace("\\u{200c}", "\u{200c}")) {
            let root = tree(&repository, &[("100644", name.as_bytes(), file)]);
            let message = inspect_tree(&repository, root, &GitLimits::default()).unwrap_err();
            assert!(
                message.contains("git itself would not create") || message.contains("invalid"),
                "{name:?}: {message}"
            );
        }
        for name in [".gitignore", ".github", "git", "a..b", "한글", "-rf", "a b"] {
            let root = tree(&repository, &[("100644", name.as_bytes(), file)]);
            assert_eq!(inspect_tree(&repository, root, &GitLimits::default()), Ok(LeftOut::default()), "{name}");
        }
    }

    #[test]
    fn refuses_name_used_twice() {
        let (_folder, repository) = store();
        let (target, file) = (repository.blob(b"/etc").unwrap(), repository.blob(b"x").unwrap());
        let inner = tree(&repository, &[("100644", b"passwd", file)]);
        let root = tree(&repository, &[("120000", b"a", target), ("40000", b"a", inner)]);
        assert!(inspect_tree(&repository, root, &GitLimits::default()).unwrap_err().contains("would not create"));
    }

    /// Ten folders in each of ten: one kilobyte that expands to ten thousand million files.
    #[test]
    fn refuses_exponential_tree() {
        let (_folder, repository) = store();
        let mut inner = tree(&repository, &[("100644", b"f", repository.blob(b"boom").unwrap())]);
        for _ in 0..10 {
            let names: Vec<[u8; 1]> = (b'0'..=b'9').map(|name| [name]).collect();
            let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|name| ("40000", &name[..], inner)).collect();
            inner = tree(&repository, &entries);
        }
        let message =
            inspect_tree(&repository, inner, &GitLimits { max_files: 5_000, ..GitLimits::default() }).unwrap_err();
        assert!(message.contains("more than 5000 files"), "{message}");
    }

    #[test]
    fn refuses_excessive_unpacked_size() {
        let (_folder, repository) = store();
        let zeros = repository.blob(&vec![0; 1 << 20]).unwrap();
        let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
        let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|name| ("100644", name.as_bytes(), zeros)).collect();
        let root = tree(&repository, &entries);
        let limits = GitLimits { max_bytes: 5 << 20, ..GitLimits::default() };
        assert!(inspect_tree(&repository, root, &limits).unwrap_err().contains("larger than 5242880 bytes"));
        assert!(inspect_tree(&repository, root, &GitLimits::default()).is_ok());
    }

    #[test]
    fn refuses_excessive_depth_and_length() {
        let (_folder, repository) = store();
        let file = repository.blob(b"x").unwrap();
        let nested = |name: &[u8], times: usize| {
            (0..times).fold(tree(&repository, &[("100644", b"f", file)]), |inner, _| {
                tree(&repository, &[("40000", name, inner)])
            })
        };
        assert!(inspect_tree(&repository, nested(b"d", 70), &GitLimits::default()).unwrap_err().contains("deep"));
        assert!(
            inspect_tree(&repository, nested(&[b'n'; 250], 5), &GitLimits::default())
                .unwrap_err()
                .contains("1024 bytes")
        );
        let name = [b'n'; 256];
        let root = tree(&repository, &[("100644", &name, file)]);
        assert!(inspect_tree(&repository, root, &GitLimits::default()).unwrap_err().contains("255"));
        let link = repository.blob(&[b'a'; 5_000]).unwrap();
        let root = tree(&repository, &[("120000", b"link", link)]);
        assert!(inspect_tree(&repository, root, &GitLimits::default()).unwrap_err().contains("4096"));
    }

    #[test]
    fn reports_submodules_and_lfs_files() {
        let (_folder, repository) = store();
        let pointer = [LFS_POINTER_PREFIX, b"oid sha256:0\nsize 12345\n"].concat();
        let pointer = repository.blob(&pointer).unwrap();
        let folder = tree(&repository, &[("100644", b"model.bin", pointer)]);
        let module = Oid::from_str("0123456789012345678901234567890123456789").unwrap();
        let root = tree(&repository, &[("40000", b"data", folder), ("160000", b"lib", module)]);
        let found = inspect_tree(&repository, root, &GitLimits::default()).unwrap();
        assert_eq!((found.submodules, found.lfs_files), (1, 1));
        assert_eq!(found.paths, ["lib", "data/model.bin"]);
    }

    #[test]
    fn names_the_oversized_file() {
        let (_folder, repository) = store();
        let file = repository.blob(&[b'x'; 2_000]).unwrap();
        let folder = tree(&repository, &[("100644", b"model.bin", file)]);
        let root = tree(&repository, &[("40000", b"data", folder)]);
        let limits = GitLimits { max_file_bytes: 1_999, ..GitLimits::default() };
        let message = inspect_tree(&repository, root, &limits).unwrap_err();
        assert!(
            message.contains("data/model.bin has 2000 bytes") && message.contains("PANDA_SOURCE_MAX_FILE_BYTES"),
            "{message}"
        );
        assert!(inspect_tree(&repository, root, &GitLimits { max_file_bytes: 2_000, ..limits }).is_ok());
    }
}
