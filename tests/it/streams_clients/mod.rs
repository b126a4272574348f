//! Readers of event streams that others wrote, at real Pandas: Chromium, npm's EventSource, Python, Rust, and our own clients/js in a
//! browser and in Node. What they have in common is the standard; what we know of it ourselves proves nothing here.

pub mod browser;
mod documents;
mod nginx;
mod programs;
mod proxied;
mod reader;
mod restarts;
mod rust;
mod signed_in;
mod text;

use std::path::PathBuf;

/// What to do about a program that is not there.
pub const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does).";

/// Where `scripts/install.sh` puts what this distribution has no package of.
pub fn installed() -> PathBuf {
    let cache = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/clients");
    std::env::var_os("PANDA_TEST_CLIENTS").map_or(cache, PathBuf::from)
}

/// The program of one of these names, from `scripts/install.sh`'s folder, PATH, or where administrators' programs are.
pub fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = [installed()]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    let found =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {}. {REMEDY}", names[0]))
}
