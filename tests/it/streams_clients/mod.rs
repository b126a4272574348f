//! Third-party readers of event streams on real Pandas: Chromium, npm's EventSource, Python, Rust; and clients/js in a browser and in Node. They
//! follow the published standard, independently of Panda's own understanding of it.

pub mod browser;
mod build_output;
mod documents;
mod nginx;
mod programs;
mod proxies;
mod reader;
mod restarts;
mod rust;
mod tickets;

use std::path::PathBuf;

/// Remedy for a missing program.
pub const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does).";

/// Folder where `scripts/install.sh` puts programs that the distribution does not package.
pub fn installed() -> PathBuf {
    let cache = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/clients");
    std::env::var_os("PANDA_TEST_CLIENTS").map_or(cache, PathBuf::from)
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
