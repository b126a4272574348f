//! Whether an engine gets a base image from a registry, as builds do.

use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use futures_util::{Stream, TryStreamExt as _};
use tokio::time::timeout;

use super::docker::Engine;
use super::error::PartsError;

const PART: &str = "base image";
/// A pull of a few megabytes; a machine without internet should not wait longer for the other way.
const PULL_LIMIT: Duration = Duration::from_secs(30);
const REMEDY: &str = "Give the engine access to an image registry; or have Panda start an engine of its own, which brings busybox: unset DOCKER_HOST and \
     install docker.io, docker-registry and busybox-static.";

impl Engine {
    /// Makes sure that the engine gets `image` (`name:tag`) from a registry: an image that only the engine has is no base for a build.
    pub async fn ensure_base_image(&self, image: &str) -> Result<(), PartsError> {
        let Some((name, tag)) = image.rsplit_once(':').filter(|(name, tag)| !name.is_empty() && !tag.contains('/'))
        else {
            let problem = format!("{image} has no tag; write it as name:tag");
            return Err(PartsError::Input { field: "base image", problem });
        };
        if self.was_pulled(image).await? {
            return Ok(());
        }
        self.pull(name, tag).await.map_err(|reason| missing(format!("{image} could not be pulled ({reason})")))
    }

    /// Whether `image` came from a registry; asking that registry each time would soon meet its limits.
    async fn was_pulled(&self, image: &str) -> Result<bool, PartsError> {
        match self.docker().inspect_image(image).await {
            Ok(found) => Ok(found.repo_digests.is_some_and(|digests| !digests.is_empty())),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(source) => Err(PartsError::Engine { call: "image inspect", source }),
        }
    }

    /// Whether the engine has `image`.
    pub async fn has_image(&self, image: &str) -> Result<bool, PartsError> {
        match self.docker().inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(source) => Err(PartsError::Engine { call: "image inspect", source }),
        }
    }

    /// Pulls an image; the error is for people.
    pub(crate) async fn pull(&self, name: &str, tag: &str) -> Result<(), String> {
        let options: CreateImageOptions = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        match timeout(PULL_LIMIT, finish(self.docker().create_image(Some(options), None, None))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no image within {} s", PULL_LIMIT.as_secs())),
        }
    }
}

fn missing(reason: String) -> PartsError {
    PartsError::Missing { part: PART, reason, remedy: REMEDY }
}

/// Reads the progress to its end; bollard turns an error inside it into one of the stream.
async fn finish<S>(progress: S) -> Result<(), bollard::errors::Error>
where
    S: Stream<Item = Result<CreateImageInfo, bollard::errors::Error>>,
{
    progress.try_for_each(async |_| Ok(())).await
}
