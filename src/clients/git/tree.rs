//! A commit's tree, inspected before anything of it is written to disk: a few kilobytes of pack can stand for billions of files, and names
//! for places outside the folder.

use std::collections::HashSet;

use git2::{Odb, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::{GitError, GitErrorKind, GitLimits};

/// Deepest folder.
const MOST_DEPTH: usize = 64;
/// Longest path, in bytes: four of these fit into what Linux takes.
const LONGEST_PATH: usize = 1_024;
/// Longest target of a symbolic link, in bytes.
const LONGEST_LINK: usize = 4_096;
/// Largest folder as git stores it, in bytes: read whole.
const LARGEST_FOLDER: usize = 64 << 20;
/// Largest pointer file of Git LFS, in bytes, by its specification.
const LARGEST_POINTER: usize = 1_024;
/// How each pointer file of Git LFS begins.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// Paths that are named of what is left out.
const NAMED: usize = 5;

pub(super) const TREE: i32 = 0o040_000;
pub(super) const EXECUTABLE: i32 = 0o100_755;
pub(super) const LINK: i32 = 0o120_000;
pub(super) const SUBMODULE: i32 = 0o160_000;

/// What a commit refers to and a fetch does not bring: submodules are empty folders, files of Git LFS are their pointers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LeftOut {
    /// Number of submodules.
    pub submodules: usize,
    /// Number of files that are in Git LFS.
    pub lfs_files: usize,
    /// The first few paths.
    pub paths: Vec<String>,
}

impl LeftOut {
    fn note(&mut self, path: &[u8]) {
        if self.paths.len() < NAMED {
            self.paths.push(String::from_utf8_lossy(path).into_owned());
        }
    }
}

/// Inspects the tree `root`: an error when it must not be written to disk.
pub(super) fn inspect(repository: &Repository, root: Oid, limits: &GitLimits) -> Result<LeftOut, GitError> {
    let odb = repository.odb().map_err(|error| GitError::of_objects(&error))?;
    let mut look = Look { repository, odb, limits, entries: 0, bytes: 0, left_out: LeftOut::default() };
    let mut folders = vec![(root, Vec::new(), 1)];
    while let Some((id, path, depth)) = folders.pop() {
        look.folder(id, &path, depth, &mut folders)?;
    }
    Ok(look.left_out)
}

type Folders = Vec<(Oid, Vec<u8>, usize)>;

struct Look<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    limits: &'a GitLimits,
    entries: usize,
    bytes: usize,
    left_out: LeftOut,
}

impl Look<'_> {
    fn folder(&mut self, id: Oid, path: &[u8], depth: usize, folders: &mut Folders) -> Result<(), GitError> {
        let refused = |what: String| Err(GitError::new(GitErrorKind::TreeRefused, what));
        let failed = |error: git2::Error| GitError::of_objects(&error);
        if depth > MOST_DEPTH {
            return refused(format!("the repository's folders are more than {MOST_DEPTH} deep: {}", shown(path)));
        }
        if self.odb.read_header(id).map_err(failed)?.0 > LARGEST_FOLDER {
            return refused(format!("the repository's folder {} is too large", shown(path)));
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
            if full.len() > LONGEST_PATH || name.len() > 255 {
                return refused(format!(
                    "the repository has a path of more than {LONGEST_PATH} bytes, or a name of more than 255"
                ));
            }
            // A name twice could be a link at first and a folder then, which is written through the link.
            if !is_plain(name) || !names.insert(name.to_vec()) {
                return refused(format!("the repository has a path that git itself would not make: {}", shown(&full)));
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
        let (size, most) = (self.odb.read_header(id).map_err(failed)?.0, self.limits.max_file_bytes);
        if size > most {
            let path = shown(path);
            return Err(GitError::too_large(format!(
                "the file {path} has {size} bytes, more than {most} (PANDA_SOURCE_MAX_FILE_BYTES)"
            )));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.max_bytes {
            return Err(GitError::too_large(too_large(self.limits.max_bytes)));
        }
        if is_link && size > LONGEST_LINK {
            let message = format!("the link {} is longer than {LONGEST_LINK} bytes", shown(path));
            return Err(GitError::new(GitErrorKind::TreeRefused, message));
        }
        if !is_link && size <= LARGEST_POINTER && self.odb.read(id).map_err(failed)?.data().starts_with(POINTER) {
            self.left_out.lfs_files += 1;
            self.left_out.note(path);
        }
        Ok(())
    }
}

/// The message for a repository with more than `most` files and folders.
pub(super) fn too_many(most: usize) -> String {
    format!("the repository has more than {most} files and folders (PANDA_SOURCE_MAX_FILES)")
}

/// The message for a repository with more than `most` bytes, packed or unpacked.
pub(super) fn too_large(most: usize) -> String {
    format!("the repository is larger than {most} bytes (PANDA_SOURCE_MAX_BYTES)")
}

/// Whether a name is one that git makes: not a place of its own, and not one in disguise for another system.
fn is_plain(name: &[u8]) -> bool {
    let text = String::from_utf8_lossy(name).to_lowercase();
    // HFS+ ignores these characters; NTFS what follows a colon, and dots and spaces at the end.
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

/// A path for a message.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Repository;
    use tempfile::TempDir;

    /// A bare store of objects, to put trees together that git itself would not make.
    fn store() -> (TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        (folder, repository)
    }

    /// A tree of `(mode, name, id)`, as bytes: git's own builder would refuse the names.
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

    fn look(repository: &Repository, root: Oid, limits: &GitLimits) -> Result<LeftOut, String> {
        inspect(repository, root, limits).map_err(|error| error.to_string())
    }

    #[test]
    fn names_that_mean_another_place_are_refused() {
        let (_folder, repository) = store();
        let file = repository.blob(b"x").unwrap();
        let names =
            include_str!("../../../tests/it/hostile/tree_names.txt").lines().filter(|line| !line.starts_with('#'));
        for name in names.map(|name| name.replace("\\u{200c}", "\u{200c}")) {
            let root = tree(&repository, &[("100644", name.as_bytes(), file)]);
            let said = look(&repository, root, &GitLimits::default()).unwrap_err();
            assert!(said.contains("git itself would not make") || said.contains("invalid"), "{name:?}: {said}");
        }
        for name in [".gitignore", ".github", "git", "a..b", "한글", "-rf", "a b"] {
            let root = tree(&repository, &[("100644", name.as_bytes(), file)]);
            assert_eq!(look(&repository, root, &GitLimits::default()), Ok(LeftOut::default()), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_a_link_and_a_folder_is_refused() {
        let (_folder, repository) = store();
        let (target, file) = (repository.blob(b"/etc").unwrap(), repository.blob(b"x").unwrap());
        let inner = tree(&repository, &[("100644", b"passwd", file)]);
        let root = tree(&repository, &[("120000", b"a", target), ("40000", b"a", inner)]);
        assert!(look(&repository, root, &GitLimits::default()).unwrap_err().contains("would not make"));
    }

    /// Ten folders in each of ten: a kilobyte that stands for ten thousand million files.
    #[test]
    fn a_few_objects_that_stand_for_very_many_files_are_refused_at_the_limit() {
        let (_folder, repository) = store();
        let mut inner = tree(&repository, &[("100644", b"f", repository.blob(b"boom").unwrap())]);
        for _ in 0..10 {
            let names: Vec<[u8; 1]> = (b'0'..=b'9').map(|name| [name]).collect();
            let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|name| ("40000", &name[..], inner)).collect();
            inner = tree(&repository, &entries);
        }
        let said = look(&repository, inner, &GitLimits { max_files: 5_000, ..GitLimits::default() }).unwrap_err();
        assert!(said.contains("more than 5000 files"), "{said}");
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_though_it_is_packed_small() {
        let (_folder, repository) = store();
        let zeros = repository.blob(&vec![0; 1 << 20]).unwrap();
        let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
        let entries: Vec<(&str, &[u8], Oid)> = names.iter().map(|name| ("100644", name.as_bytes(), zeros)).collect();
        let root = tree(&repository, &entries);
        let limits = GitLimits { max_bytes: 5 << 20, ..GitLimits::default() };
        assert!(look(&repository, root, &limits).unwrap_err().contains("larger than 5242880 bytes"));
        assert!(look(&repository, root, &GitLimits::default()).is_ok());
    }

    #[test]
    fn what_is_too_deep_or_too_long_is_refused() {
        let (_folder, repository) = store();
        let file = repository.blob(b"x").unwrap();
        let nested = |name: &[u8], times: usize| {
            (0..times).fold(tree(&repository, &[("100644", b"f", file)]), |inner, _| {
                tree(&repository, &[("40000", name, inner)])
            })
        };
        assert!(look(&repository, nested(b"d", 70), &GitLimits::default()).unwrap_err().contains("deep"));
        assert!(look(&repository, nested(&[b'n'; 250], 5), &GitLimits::default()).unwrap_err().contains("1024 bytes"));
        let name = [b'n'; 256];
        let root = tree(&repository, &[("100644", &name, file)]);
        assert!(look(&repository, root, &GitLimits::default()).unwrap_err().contains("255"));
        let link = repository.blob(&[b'a'; 5_000]).unwrap();
        let root = tree(&repository, &[("120000", b"link", link)]);
        assert!(look(&repository, root, &GitLimits::default()).unwrap_err().contains("4096"));
    }

    #[test]
    fn submodules_and_files_in_lfs_are_found() {
        let (_folder, repository) = store();
        let pointer = [POINTER, b"oid sha256:0\nsize 12345\n"].concat();
        let pointer = repository.blob(&pointer).unwrap();
        let folder = tree(&repository, &[("100644", b"model.bin", pointer)]);
        let module = Oid::from_str("0123456789012345678901234567890123456789").unwrap();
        let root = tree(&repository, &[("40000", b"data", folder), ("160000", b"lib", module)]);
        let found = look(&repository, root, &GitLimits::default()).unwrap();
        assert_eq!((found.submodules, found.lfs_files), (1, 1));
        assert_eq!(found.paths, ["lib", "data/model.bin"]);
    }

    #[test]
    fn a_file_over_its_own_limit_is_refused_by_name() {
        let (_folder, repository) = store();
        let file = repository.blob(&[b'x'; 2_000]).unwrap();
        let folder = tree(&repository, &[("100644", b"model.bin", file)]);
        let root = tree(&repository, &[("40000", b"data", folder)]);
        let limits = GitLimits { max_file_bytes: 1_999, ..GitLimits::default() };
        let said = look(&repository, root, &limits).unwrap_err();
        assert!(
            said.contains("data/model.bin has 2000 bytes") && said.contains("PANDA_SOURCE_MAX_FILE_BYTES"),
            "{said}"
        );
        assert!(look(&repository, root, &GitLimits { max_file_bytes: 2_000, ..limits }).is_ok());
    }
}
