//! Copies the registry program out of the official image, for machines without a package of it.
//!
//! The image serves only as a download: the program then runs as a guarded child process, like an installed one. A
//! container would outlive this process.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::TryStreamExt as _;

use super::docker::Engine;
use super::error::DevServicesError;
use super::machine::is_executable;

/// The official image, whose program is static.
pub(crate) const IMAGE: &str = "registry:2";
const PROGRAM: &str = "/bin/registry";
const REMEDY: &str = "Install one (apt-get install docker-registry), or let the Docker engine pull registry:2.";

/// Copies the program of `image` into `dir`, unless it is there already, and returns its path.
pub async fn program(engine: Option<&Engine>, image: &str, dir: &Path) -> Result<PathBuf, DevServicesError> {
    let target = dir.join("registry");
    if is_executable(&target) {
        return Ok(target);
    }
    let Some(engine) = engine else {
        return Err(missing("docker-registry is not installed, and there is no engine to pull an image".to_owned()));
    };
    if !engine.has_image(image).await? {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let pulled = engine.pull(name, tag).await;
        pulled.map_err(|reason| {
            missing(format!("docker-registry is not installed, and {image} could not be pulled ({reason})"))
        })?;
    }
    let archive = download(engine, image).await?;
    unpack(&archive, dir, &target).map_err(DevServicesError::file(&target))?;
    Ok(target)
}

fn missing(reason: String) -> DevServicesError {
    DevServicesError::Missing { part: "image registry", reason, remedy: REMEDY }
}

async fn download(engine: &Engine, image: &str) -> Result<Vec<u8>, DevServicesError> {
    let docker = engine.docker();
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec![PROGRAM.to_owned()]),
        ..Default::default()
    };
    let made = docker.create_container(None, body).await.map_err(DevServicesError::engine("container create"))?;
    let options = DownloadFromContainerOptionsBuilder::default().path(PROGRAM).build();
    let copied: Result<Vec<bytes::Bytes>, _> =
        docker.download_from_container(&made.id, Some(options)).try_collect().await;
    // The container is never started, so nothing runs if this process dies before this line. Removed also when the copy failed.
    docker.remove_container(&made.id, None).await.map_err(DevServicesError::engine("container remove"))?;
    copied.map(|chunks| chunks.concat()).map_err(DevServicesError::engine("copy from container"))
}

/// Writes the archive's only file beside `target` and renames it, so that a crash leaves no partial program.
fn unpack(archive: &[u8], dir: &Path, target: &Path) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    let mut entry =
        archive.entries()?.next().ok_or_else(|| std::io::Error::other("the image's archive is empty"))??;
    if !entry.header().entry_type().is_file() {
        return Err(std::io::Error::other(format!("{PROGRAM} in the image is not a file")));
    }
    let mut program = Vec::new();
    entry.read_to_end(&mut program)?;
    let half = tempfile::NamedTempFile::new_in(dir)?;
    std::fs::write(half.path(), program)?;
    std::fs::set_permissions(half.path(), std::fs::Permissions::from_mode(0o755))?;
    half.persist(target)?;
    Ok(())
}
