//! The registry program out of the official image, for machines whose distribution has none.
//!
//! The image is only a box to carry the program here: it then runs as a child on our leash, as an installed one does, rather than as a
//! container, which would outlive us.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::TryStreamExt as _;

use super::docker::Engine;
use super::error::PartsError;
use super::place::is_executable;

/// The official image; its program is static.
pub(crate) const IMAGE: &str = "registry:2";
const PROGRAM: &str = "/bin/registry";
const REMEDY: &str = "Install one (apt-get install docker-registry), or let the Docker engine pull registry:2.";

/// The program of `image`, copied into `dir` (once).
pub async fn program(engine: Option<&Engine>, image: &str, dir: &Path) -> Result<PathBuf, PartsError> {
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
    unpack(&archive, dir, &target).map_err(PartsError::file(&target))?;
    Ok(target)
}

fn missing(reason: String) -> PartsError {
    PartsError::Missing { part: "image registry", reason, remedy: REMEDY }
}

async fn download(engine: &Engine, image: &str) -> Result<Vec<u8>, PartsError> {
    let docker = engine.docker();
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec![PROGRAM.to_owned()]),
        ..Default::default()
    };
    let made = docker.create_container(None, body).await.map_err(PartsError::engine("container create"))?;
    let options = DownloadFromContainerOptionsBuilder::default().path(PROGRAM).build();
    let copied: Result<Vec<bytes::Bytes>, _> =
        docker.download_from_container(&made.id, Some(options)).try_collect().await;
    // Never started, so nothing runs if we die before this line; it is removed whether or not the copy worked.
    docker.remove_container(&made.id, None).await.map_err(PartsError::engine("container remove"))?;
    copied.map(|chunks| chunks.concat()).map_err(PartsError::engine("copy from container"))
}

/// Writes the archive's one file beside `target` and renames it, so a crash leaves no half program.
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
