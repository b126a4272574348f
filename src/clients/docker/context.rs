//! The build context: a folder as a tar stream, made while it is sent, never whole in memory.
//!
//! What goes in: everything that `.dockerignore` does not leave out, the Dockerfile and `.dockerignore` in any case (the
//! engine reads them, and itself hides them from COPY when they are left out). Any `.git` stays out. Symlinks are sent
//! as symlinks and never followed, so nothing outside the folder can get in. Modes are kept, owners are not: files are
//! root's in the image, as the docker command does it. Sockets, pipes and devices are skipped.

use std::{
    fs,
    io::{self, Read as _, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use nix::fcntl::OFlag;
use tokio::sync::mpsc;
use walkdir::{DirEntry, WalkDir};

use super::{
    super::{ClientError, ErrorKind},
    ignore_file::DockerIgnore,
};

const CALL: &str = "docker build";

/// The size of one piece of the stream, and how many may wait to be sent.
const PIECE: usize = 64 * 1024;
const PIECES_WAITING: usize = 8;

/// The largest `.dockerignore`, in bytes.
const LARGEST_IGNORE_FILE: u64 = 64 * 1024;

/// A checked build context.
pub(super) struct Context {
    root: PathBuf,
    dockerfile: PathBuf,
    ignore: DockerIgnore,
}

/// What the sender of the stream receives.
pub(super) type Pieces = mpsc::Receiver<io::Result<Bytes>>;

impl Context {
    /// Reads the context's rules; blocking. `dockerfile` is relative to `root` and may not lead out of it.
    pub(super) fn open(root: &Path, dockerfile: &Path) -> Result<Self, ClientError> {
        let invalid = |what: &Path, error: io::Error| {
            ClientError::new(ErrorKind::Invalid, CALL, format!("{}: {error}", what.display()))
        };
        if !dockerfile.components().all(|part| matches!(part, Component::Normal(_))) {
            let message = format!("the Dockerfile {} is not a path inside the context", dockerfile.display());
            return Err(ClientError::new(ErrorKind::Invalid, CALL, message));
        }
        let root = root.canonicalize().map_err(|error| invalid(root, error))?;
        let found = root.join(dockerfile).canonicalize().map_err(|error| invalid(dockerfile, error))?;
        // Neither itself nor a folder above it may be a link: what it is would depend on where that leads.
        if found != root.join(dockerfile) || !found.is_file() {
            let message = format!("the Dockerfile {} is a link, or no file", dockerfile.display());
            return Err(ClientError::new(ErrorKind::Invalid, CALL, message));
        }
        let file = root.join(".dockerignore");
        // A link could lead out of the context; the engine would not read it through one either.
        let ignore = match fs::symlink_metadata(&file) {
            Ok(meta) if meta.is_file() => {
                if meta.len() > LARGEST_IGNORE_FILE {
                    let message = format!(".dockerignore is larger than {LARGEST_IGNORE_FILE} bytes");
                    return Err(ClientError::new(ErrorKind::Invalid, CALL, message));
                }
                let text = fs::read(&file).map_err(|error| invalid(&file, error))?;
                DockerIgnore::parse(&String::from_utf8_lossy(&text))?
            }
            _ => DockerIgnore::default(),
        };
        Ok(Self { root, dockerfile: dockerfile.to_owned(), ignore })
    }

    /// Starts the making of the stream on a blocking thread; it ends early when the receiver is dropped. A file that cannot
    /// be read is an error in the stream: half a context must not become an image.
    pub(super) fn stream(self) -> Pieces {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        tokio::task::spawn_blocking(move || {
            let out = io::BufWriter::with_capacity(PIECE, Sink(sender.clone()));
            if let Err(error) = self.write(out) {
                // Nobody left to tell: the build is over.
                let _ = sender.blocking_send(Err(error));
            }
        });
        pieces
    }

    fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        let mut walk = WalkDir::new(&self.root).min_depth(1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry?;
            let path = entry.path().strip_prefix(&self.root).map_err(io::Error::other)?.to_owned();
            let is_folder = entry.file_type().is_dir();
            if entry.file_name() == ".git" {
                if is_folder {
                    walk.skip_current_dir();
                }
                continue;
            }
            if self.ignore.leaves_out(&path, is_folder) && !self.is_needed(&path) {
                // The Dockerfile or an exception may lie deeper.
                if is_folder && !self.ignore.takes_back() && !self.dockerfile.starts_with(&path) {
                    walk.skip_current_dir();
                }
                continue;
            }
            append(&mut tar, &entry, &path).map_err(|error| {
                io::Error::new(error.kind(), format!("the build context's {}: {error}", path.display()))
            })?;
        }
        tar.into_inner()?.flush()
    }

    fn is_needed(&self, path: &Path) -> bool {
        path == self.dockerfile || path == Path::new(".dockerignore")
    }
}

fn append(tar: &mut tar::Builder<impl Write>, entry: &DirEntry, path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(entry.path())?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(meta.mtime().try_into().unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if meta.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, path, fs::read_link(entry.path())?)
    } else if meta.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, path, io::empty())
    } else if meta.is_file() {
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(meta.len());
        // The header's size is a promise to the reader, whatever happens to the file meanwhile.
        let no_link = OFlag::O_NOFOLLOW.bits();
        let file = fs::File::options().read(true).custom_flags(no_link).open(entry.path())?;
        tar.append_data(&mut header, path, file.take(meta.len()))
    } else {
        Ok(())
    }
}

/// Hands what is written to an async receiver, and waits when it is slow.
struct Sink(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map(|()| piece.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::BTreeMap,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    /// Path → (mode, link target or text).
    fn packed(root: &Path, dockerfile: &str) -> BTreeMap<String, (u32, String)> {
        let mut bytes = Vec::new();
        Context::open(root, Path::new(dockerfile)).unwrap().write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            assert_eq!(entry.header().uid().unwrap(), 0);
            (path, (entry.header().mode().unwrap(), link.unwrap_or(text)))
        });
        entries.collect()
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn modes_and_links_are_kept_and_links_are_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "Dockerfile", "FROM scratch");
        put(root, "run.sh", "#!/bin/sh");
        fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", root.join("outside")).unwrap();
        symlink("/etc", root.join("folder")).unwrap();
        let name = format!("deep/{}.txt", "n".repeat(180));
        put(root, &name, "long");
        let packed = packed(root, "Dockerfile");
        assert_eq!(packed["run.sh"], (0o755, "#!/bin/sh".into()));
        assert_eq!(packed["outside"].1, "/etc/passwd");
        assert_eq!(packed["folder"].1, "/etc");
        assert_eq!(packed[&name].1, "long");
        assert!(!packed.keys().any(|path| path.starts_with("folder/")));
    }

    #[test]
    fn git_and_ignored_files_stay_out_but_the_dockerfile_goes_in() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in [".git/config", "sub/.git", "docker/Dockerfile", "docker/other", "target/x", "keep/a", "keep/b"] {
            put(root, path, "x");
        }
        put(root, ".dockerignore", "docker\ntarget\nkeep\n!keep/a\n.dockerignore\n");
        let packed = packed(root, "docker/Dockerfile");
        assert_eq!(packed.keys().collect::<Vec<_>>(), [".dockerignore", "docker/Dockerfile", "keep/a", "sub"]);
    }

    #[test]
    fn a_dockerfile_outside_or_missing_or_behind_a_link_is_refused() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(outside.path(), "Dockerfile", "FROM scratch");
        put(folder.path(), "inside/Dockerfile", "FROM scratch");
        put(folder.path(), "folder.d/readme", "");
        symlink(outside.path().join("Dockerfile"), folder.path().join("linked")).unwrap();
        symlink(outside.path(), folder.path().join("up")).unwrap();
        symlink("inside", folder.path().join("alias")).unwrap();
        symlink("/dev/zero", folder.path().join("endless")).unwrap();
        let paths = include_str!("../../../tests/it/hostile/dockerfile_paths.txt");
        for dockerfile in paths.lines().filter(|line| !line.starts_with('#')) {
            let error = Context::open(folder.path(), Path::new(dockerfile)).err().unwrap();
            assert_eq!(error.kind, ErrorKind::Invalid, "{dockerfile}");
        }
        assert!(Context::open(folder.path(), Path::new("inside/Dockerfile")).is_ok());
    }

    #[test]
    fn a_list_of_patterns_that_is_out_of_all_proportion_is_refused_and_one_behind_a_link_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "Dockerfile", "FROM scratch");
        for text in ["*\n".repeat(40_000), "a\n".repeat(2_000)] {
            put(folder.path(), ".dockerignore", &text);
            let error = Context::open(folder.path(), Path::new("Dockerfile")).err().unwrap();
            assert!(error.message.contains(".dockerignore"), "{error}");
        }
        fs::remove_file(folder.path().join(".dockerignore")).unwrap();
        symlink("/dev/zero", folder.path().join(".dockerignore")).unwrap();
        assert!(Context::open(folder.path(), Path::new("Dockerfile")).is_ok());
    }
}
