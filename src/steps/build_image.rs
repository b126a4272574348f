//! Stage 1, second part: the image, built by the engine, its output told line by line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Context, FetchSource, Lane, Outcome, PushImage, Run, Settings, StepError, remove_workspace};
use crate::clients::docker::{BuildError, BuildRequest};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;

/// Label that says which deployment an image belongs to; makes every deployment's digest its own.
pub const DEPLOYMENT_LABEL: &str = "dev.panda.deployment";

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct BuildImage {
    /// Path of the Dockerfile within the workspace.
    pub dockerfile: String,
}

impl Run for BuildImage {
    const NAME: &'static str = "build_image";
    const STAGE: u8 = 1;
    const LANE: Lane = Lane::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::BuildFailed;

    fn limit(settings: &Settings) -> Duration {
        settings.build_limit
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let unavailable = StepError::from_client(ErrorCode::DockerUnavailable);
        let image = format!("{}:{}", cx.deployment.ecr_repository, cx.deployment.image_tag());
        let docker = &cx.services.docker;
        let built_before = docker.find_image(&image).await.map_err(&unavailable)?;
        if built_before.is_none() {
            let workspace = cx.workspace();
            let dockerfile = tokio::fs::symlink_metadata(workspace.join(&self.dockerfile)).await;
            if !dockerfile.is_ok_and(|found| found.is_file()) {
                // Taken over from a replica whose disk we do not see, or cleaned up: get the source again.
                return Ok(Outcome::next(FetchSource {}));
            }
            cx.reporter.tell(Event::new(EventCode::BuildStarted)).await;
            self.build(cx, &workspace, &image).await?;
        }
        // Also one that was built before: the process may have died right here.
        refuse_too_large(cx, &image).await?;
        if let Err(error) = remove_workspace(&cx.services.settings.workspace_dir, &cx.deployment.id).await {
            tracing::warn!(%error, "the workspace could not be removed; housekeeping will try again");
        }
        Ok(Outcome::next(PushImage { image: image.clone(), reuse: false })
            .telling(Event::new(EventCode::BuildCompleted).with("image_name", image)))
    }
}

/// An image that unpacks to more than it may is neither pushed nor kept: it would fill the disks of all hosts that run it.
async fn refuse_too_large(cx: &Context<'_>, image: &str) -> Result<(), StepError> {
    let docker = &cx.services.docker;
    let built = docker.find_image(image).await.map_err(StepError::from_client(ErrorCode::DockerUnavailable))?;
    let most = cx.services.settings.build_limits.image_bytes;
    let Some(size) = built.map(|built| built.size).filter(|size| *size > most) else { return Ok(()) };
    if let Err(error) = docker.remove_image(image).await {
        tracing::warn!(image, %error, "an image that is too large could not be removed from the engine");
    }
    let reason = format!("the image has {size} bytes, more than {most} (PANDA_IMAGE_MAX_BYTES)");
    Err(StepError::fatal(ErrorCode::BuildFailed, reason))
}

impl BuildImage {
    async fn build(&self, cx: &Context<'_>, workspace: &Path, image: &str) -> Result<(), StepError> {
        let deployment = cx.deployment;
        let repository = format!("{}/{}", deployment.owner, deployment.repo);
        let commit = deployment.facts.commit_sha.clone().unwrap_or_default();
        let labels = BTreeMap::from([
            (DEPLOYMENT_LABEL.to_owned(), deployment.id.clone()),
            ("org.opencontainers.image.revision".to_owned(), commit),
            ("org.opencontainers.image.source".to_owned(), repository),
        ]);
        let (lines, mut received) = mpsc::channel::<String>(64);
        let request = BuildRequest {
            context: workspace,
            dockerfile: Path::new(&self.dockerfile),
            tag: image,
            labels: &labels,
            network: cx.services.settings.build_network.as_deref(),
            limits: cx.services.settings.build_limits,
        };
        let tell_lines = async {
            // Numbered, so that a build that runs again after a crash does not tell its first lines twice.
            let mut number = 0_u64;
            while let Some(line) = received.recv().await {
                number += 1;
                cx.reporter.tell(Event::new(EventCode::BuildProgress).with("message", line).keyed(number)).await;
            }
        };
        let (built, ()) = tokio::join!(cx.services.docker.build(request, lines), tell_lines);
        match built {
            Ok(_) => Ok(()),
            Err(BuildError::Engine(error)) => Err(StepError::from_client(ErrorCode::DockerUnavailable)(error)),
            Err(BuildError::Failed { message, last_lines }) => {
                let mut reason = message;
                for line in last_lines {
                    reason.push('\n');
                    reason.push_str(&line);
                }
                Err(StepError::fatal(ErrorCode::BuildFailed, reason))
            }
        }
    }
}
