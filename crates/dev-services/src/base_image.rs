//! Checks that an engine can pull a base image from a registry, as builds do.

use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use futures_util::{Stream, TryStreamExt as _};
use tokio::time::timeout;

use super::docker::Engine;
use super::error::DevServicesError;

const PART: &str = "base image";
/// Time limit for a pull of a few megabytes. Short, so that a machine without internet soon starts a private engine instead.
const PULL_LIMIT: Duration = Duration::from_secs(30);
const REMEDY: &str = "Give the engine access to an image registry; or let Panda start a private engine, which has busybox: unset DOCKER_HOST and \
     install docker.io, docker-registry and busybox-static.";

impl Engine {
    /// Ensures that the engine has pulled `image` (`name:tag`) from a registry: builds cannot use a base image that exists only locally.
    pub async fn ensure_base_image(&self, image: &str) -> Result<(), DevServicesError> {
        let Some((name, tag)) = image.rsplit_once(':').filter(|(name, tag)| !name.is_empty() && !tag.contains('/'))
        else {
            let problem = format!("{image} has no tag; write it as name:tag");
            return Err(DevServicesError::Input { field: "base image", problem });
        };
        if self.was_pulled(image).await? {
            return Ok(());
        }
        self.pull(name, tag).await.map_err(|reason| missing(format!("{image} could not be pulled ({reason})")))
    }

    /// Returns true if `image` was pulled from a registry. Asking the registry each time would soon hit its rate limit.
    async fn was_pulled(&self, image: &str) -> Result<bool, DevServicesError> {
        match self.docker().inspect_image(image).await {
            Ok(found) => Ok(found.repo_digests.is_some_and(|digests| !digests.is_empty())),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(source) => Err(DevServicesError::Engine { call: "image inspect", source }),
        }
    }

    /// Returns true if the engine has `image`, pulled or built.
    pub async fn has_image(&self, image: &str) -> Result<bool, DevServicesError> {
        match self.docker().inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(source) => Err(DevServicesError::Engine { call: "image inspect", source }),
        }
    }

    /// Pulls an image. Returns a readable error.
    pub(crate) async fn pull(&self, name: &str, tag: &str) -> Result<(), String> {
        let options: CreateImageOptions = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
        match timeout(PULL_LIMIT, finish(self.docker().create_image(Some(options), None, None))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no image within {} s", PULL_LIMIT.as_secs())),
        }
    }
}

fn missing(reason: String) -> DevServicesError {
    DevServicesError::Missing { part: PART, reason, remedy: REMEDY }
}

/// Reads the progress to its end; bollard returns errors in it as errors of the stream.
async fn finish<S>(progress: S) -> Result<(), bollard::errors::Error>
where
    S: Stream<Item = Result<CreateImageInfo, bollard::errors::Error>>,
{
    progress.try_for_each(async |_| Ok(())).await
}
