//! Where parts live: programs on this machine, private folders, free ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, chown};
use tempfile::TempDir;

use super::error::PartsError;
use super::leash::RunAs;

/// Folders in which daemons are installed but which a normal user's `PATH` often lacks.
const SYSTEM_FOLDERS: [&str; 5] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"];

/// The absolute path of an installed program.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A loopback port that was free a moment ago. Another process may take it before ours does: callers try again with a new one.
pub(crate) fn free_port() -> Result<u16, PartsError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| PartsError::Command { program: "bind 127.0.0.1:0".to_owned(), source })
}

/// Creates `path` with its parents and returns it made absolute, since programs are started in `/`.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, PartsError> {
    fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(PartsError::file(path))
}

/// A temporary folder for parts, removed with the value.
///
/// It is closed to other users, except that as root they may pass through: Postgres then runs as another user and has to get to its own
/// folder below. Everything in it that is private is closed itself.
pub fn temporary_folder() -> Result<TempDir, PartsError> {
    let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
    tempfile::Builder::new()
        .prefix("panda-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempdir()
        .map_err(PartsError::file(std::env::temp_dir()))
}

/// Who Postgres runs as: ourselves, or, since it refuses root, the user that its package made (`nobody` where there is none).
pub(crate) fn unprivileged() -> Result<RunAs, PartsError> {
    if !Uid::effective().is_root() {
        return Ok(RunAs::Us);
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| RunAs::User { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
        .ok_or(PartsError::Missing {
            part: "Postgres",
            reason: "it does not run as root, and there is neither a user postgres nor nobody".to_owned(),
            remedy: "Run this as a normal user, or create the user: useradd --system postgres.",
        })
}

/// Gives `path` to the user that a program runs as, and checks that this user can get there.
pub(crate) fn hand_over(path: &Path, run_as: RunAs) -> Result<(), PartsError> {
    let RunAs::User { uid, gid } = run_as else { return Ok(()) };
    chown(path, Some(uid.into()), Some(gid.into())).map_err(|errno| PartsError::file(path)(errno.into()))?;
    for ancestor in path.ancestors().skip(1) {
        let meta = fs::metadata(ancestor).map_err(PartsError::file(ancestor))?;
        let needed = if meta.uid() == uid {
            0o100
        } else if meta.gid() == gid {
            0o010
        } else {
            0o001
        };
        if meta.mode() & needed == 0 {
            return Err(PartsError::Input {
                field: "data folder",
                problem: format!(
                    "{} is closed to the user (id {uid}) that Postgres runs as, since it refuses to run as root; choose a folder \
                     that all users can get through to, such as one in /var/lib, or run this as a normal user",
                    ancestor.display()
                ),
            });
        }
    }
    Ok(())
}
