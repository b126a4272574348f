//! Resources of this machine for dev services: installed programs, private folders, free ports, users.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, chown};
use tempfile::TempDir;

use super::child_guard::RunAs;
use super::error::DevServicesError;

/// Folders of daemons that a normal user's `PATH` often lacks.
const SYSTEM_FOLDERS: [&str; 5] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin"];

/// Finds the absolute path of an installed program.
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

/// Returns a loopback port that was free a moment ago. Another process may take it first: callers must retry with a new one.
pub(crate) fn free_port() -> Result<u16, DevServicesError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| DevServicesError::Command { program: "bind 127.0.0.1:0".to_owned(), source })
}

/// Creates `path` with its parents and returns its absolute form: programs run in `/`.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, DevServicesError> {
    fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(DevServicesError::file(path))
}

/// Creates a temporary folder for dev services, removed when the value is dropped.
///
/// Other users have no access. When created by root, they may traverse it: Postgres then runs as another user and must reach its
/// folder below. Private files in it have restrictive modes themselves.
pub fn temporary_folder() -> Result<TempDir, DevServicesError> {
    let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
    tempfile::Builder::new()
        .prefix("panda-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempdir()
        .map_err(DevServicesError::file(std::env::temp_dir()))
}

/// The user for Postgres: the present one, or, because Postgres refuses to run as root, the user that its package created (else the unprivileged one).
pub(crate) fn unprivileged() -> Result<RunAs, DevServicesError> {
    if !Uid::effective().is_root() {
        return Ok(RunAs::Us);
    }
    ["postgres", "nobody"] // style: quoted
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| RunAs::User { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
        .ok_or(DevServicesError::Missing {
            part: "Postgres",
            reason: "it does not run as root, and neither the user postgres nor nobody exists".to_owned(), // style: quoted
            remedy: "Run this as a normal user, or create the user: useradd --system postgres.",
        })
}

/// Makes the user that a program runs as the owner of `path`, and checks that this user can reach it.
pub(crate) fn hand_over(path: &Path, run_as: RunAs) -> Result<(), DevServicesError> {
    let RunAs::User { uid, gid } = run_as else { return Ok(()) };
    chown(path, Some(uid.into()), Some(gid.into())).map_err(|errno| DevServicesError::file(path)(errno.into()))?;
    for ancestor in path.ancestors().skip(1) {
        let meta = fs::metadata(ancestor).map_err(DevServicesError::file(ancestor))?;
        let needed = if meta.uid() == uid {
            0o100
        } else if meta.gid() == gid {
            0o010
        } else {
            0o001
        };
        if meta.mode() & needed == 0 {
            return Err(DevServicesError::Input {
                field: "data folder",
                problem: format!(
                    "the user (id {uid}) that Postgres runs as, because it refuses to run as root, cannot enter {}; choose a folder \
                     that all users can reach, such as one in /var/lib, or run this as a normal user",
                    ancestor.display()
                ),
            });
        }
    }
    Ok(())
}
