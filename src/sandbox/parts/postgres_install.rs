//! Which Postgres programs are used: installed ones, or, where there are none, a downloaded archive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_embedded::{PostgreSQL, Settings, V17};
use tokio::time::timeout;

use super::error::PartsError;
use super::place::{find_program, is_executable};

const REMEDY: &str = "Install one (apt-get install postgresql), or give a running server with PANDA_DATABASE_URL.";
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);
/// Where Debian and its kin keep servers, one folder a version, outside `PATH`.
const VERSIONED: &str = "/usr/lib/postgresql";

/// A folder with `initdb` and `postgres` of one version in it.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) bin: PathBuf,
}

impl Installation {
    fn at(bin: &Path) -> Option<Self> {
        (is_executable(&bin.join("initdb")) && is_executable(&bin.join("postgres")))
            .then(|| Self { bin: bin.to_path_buf() })
    }

    /// A cluster made by another major version is refused here, with words; the server itself would only log and end.
    pub(crate) fn check_version(&self, cluster: &Path) -> Result<(), PartsError> {
        let file = cluster.join("PG_VERSION");
        let made_by = std::fs::read_to_string(&file).map_err(PartsError::file(&file))?;
        let made_by = made_by.trim();
        let ours = self.bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let known = !ours.is_empty() && ours.chars().all(|c| c.is_ascii_digit());
        if known && ours != made_by {
            return Err(PartsError::Input {
                field: "data folder",
                problem: format!(
                    "{} was made by Postgres {made_by}, and Postgres {ours} is installed; install {made_by}, or move the folder away",
                    cluster.display()
                ),
            });
        }
        Ok(())
    }
}

/// The newest installed server; else one downloaded into `dir/install` (kept there, so only once).
pub(crate) async fn find_or_download(dir: &Path) -> Result<Installation, PartsError> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    download(dir).await
}

fn installed() -> Option<Installation> {
    // A link in PATH leads to the folder that has its libraries beside it.
    let in_path = find_program("postgres").and_then(|program| program.canonicalize().ok());
    in_path.as_deref().and_then(Path::parent).and_then(Installation::at).or_else(|| newest(Path::new(VERSIONED)))
}

fn newest(versions: &Path) -> Option<Installation> {
    let mut found: Vec<(u32, Installation)> = std::fs::read_dir(versions)
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, Installation::at(&entry.path().join("bin"))?))
        })
        .collect();
    found.sort_by_key(|(version, _)| *version);
    found.pop().map(|(_, installation)| installation)
}

async fn download(dir: &Path) -> Result<Installation, PartsError> {
    let settings = Settings {
        installation_dir: dir.join("install"),
        // One major version for good: a later start must be able to read what this one writes.
        version: V17.clone(),
        temporary: false,
        ..Settings::new()
    };
    // `Settings` comes with two new temporary folders, which are ours to remove.
    let temporary: Vec<PathBuf> = settings
        .password_file
        .parent()
        .into_iter()
        .chain([settings.data_dir.as_path()])
        .map(Path::to_path_buf)
        .collect();
    let installed = install(settings).await;
    for folder in temporary {
        // Left behind, they are two empty folders: no reason to fail.
        let _ = std::fs::remove_dir_all(folder);
    }
    installed
}

async fn install(settings: Settings) -> Result<Installation, PartsError> {
    // The crate also makes a cluster unless its data folder looks made. We make ours ourselves (it refuses root), so it is shown one.
    let marker = settings.data_dir.join("postgresql.conf");
    std::fs::write(&marker, "").map_err(PartsError::file(&marker))?;
    let missing = |reason: String| PartsError::Missing { part: "Postgres", reason, remedy: REMEDY };
    let mut archive = PostgreSQL::new(settings);
    match timeout(DOWNLOAD_LIMIT, archive.setup()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(missing(format!("none is installed, and downloading one failed: {error}"))),
        Err(_) => {
            let seconds = DOWNLOAD_LIMIT.as_secs();
            return Err(missing(format!("none is installed, and downloading one took longer than {seconds} s")));
        }
    }
    let bin = archive.settings().binary_dir();
    Installation::at(&bin).ok_or_else(|| missing(format!("the downloaded archive has no server in {}", bin.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(versions: &Path, version: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let bin = versions.join(version).join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for program in ["initdb", "postgres"] {
            std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o755)
                .open(bin.join(program))
                .unwrap();
        }
    }

    #[test]
    fn the_newest_version_is_chosen_by_number_not_by_text() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["9", "15", "13"] {
            fake(dir.path(), version);
        }
        std::fs::create_dir_all(dir.path().join("99/bin")).unwrap();
        assert_eq!(newest(dir.path()).unwrap().bin, dir.path().join("15/bin"));
    }

    #[test]
    fn a_cluster_of_another_major_version_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "15");
        let installation = newest(dir.path()).unwrap();
        let cluster = dir.path().join("cluster");
        std::fs::create_dir_all(&cluster).unwrap();
        std::fs::write(cluster.join("PG_VERSION"), "15\n").unwrap();
        installation.check_version(&cluster).unwrap();
        std::fs::write(cluster.join("PG_VERSION"), "13\n").unwrap();
        let message = installation.check_version(&cluster).unwrap_err().to_string();
        assert!(message.contains("made by Postgres 13") && message.contains("install 13"), "{message}");
    }
}
