//! Programs that `scripts/install.sh` puts into a folder, or that the distribution packages.

use std::path::PathBuf;

use crate::root;

/// Remedy for a missing program.
pub const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does).";

/// The folder that `variable` names, else `part` of the cache: that of `PANDA_CACHE_DIR`, or the checkout's.
pub fn folder(variable: &str, part: &str) -> PathBuf {
    let cache = || std::env::var_os("PANDA_CACHE_DIR").map_or_else(|| root().join(".cache"), PathBuf::from);
    std::env::var_os(variable).map_or_else(|| cache().join(part), PathBuf::from)
}

/// Folder with the readers of event streams that the distribution does not package.
pub fn installed() -> PathBuf {
    folder("PANDA_TEST_CLIENTS", "clients")
}

/// The program of one of these names, from `scripts/install.sh`'s folder, PATH, or the administrators' folders.
pub fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = [installed()]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    let found =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{} is missing. {REMEDY}", names[0]))
}
