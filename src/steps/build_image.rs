//! Stage 1, second part: builds the image, and emits the output line by line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    FetchSource, PushImage, ResourceClass, RunStep, Settings, StepContext, StepError, StepOutcome, remove_workspace,
};
use crate::clients::ErrorKind;
use crate::clients::build::{BuildError, Progress};
use crate::clients::builder::{BuildJob, DetectedBuilder};
use crate::clients::buildkit::MountedSecrets;
use crate::clients::registry_credentials::{Credentials, Login};
use crate::domain::build_spec::BuildOptions;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;

/// Image label with the deployment's id; it makes the digest unique per deployment.
pub const DEPLOYMENT_LABEL: &str = "dev.panda.deployment";

/// Time between two attempts to take a builder's permit.
const PERMIT_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Build argument with the commit's id, named as in Docker Hub's own builds.
const COMMIT_ARG: &str = "SOURCE_COMMIT";

/// State of the build step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct BuildImage {
    /// Path of the Dockerfile, relative to the workspace.
    pub dockerfile: String,
    /// Path of the context folder, relative to the workspace; empty for the workspace itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// Target, build arguments, platform and names of secrets.
    #[serde(flatten)]
    pub options: BuildOptions,
}

impl RunStep for BuildImage {
    const NAME: &'static str = "build_image";
    const STAGE: u8 = 1;
    const RESOURCE_CLASS: ResourceClass = ResourceClass::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::BuildFailed;

    fn limit(settings: &Settings) -> Duration {
        settings.build_limit
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let unavailable = StepError::from_client(ErrorCode::DockerUnavailable);
        let image = format!("{}:{}", cx.deployment.ecr_repository, cx.deployment.image_tag());
        let pooled = cx.builder()?;
        let builder = pooled.builder.active().await.map_err(&unavailable)?;
        if !self.was_built(cx, &builder, &image).await? {
            let workspace = cx.workspace();
            if tokio::fs::symlink_metadata(workspace.join(&self.dockerfile)).await.is_err() {
                // Another replica fetched the source, or it was cleaned up: fetch it again.
                return Ok(StepOutcome::next(FetchSource {}));
            }
            let Some(_permit) = pooled.permit() else {
                let why = message!("wait.permits", builder = pooled.builder.name());
                return Ok(StepOutcome::wait(self.clone(), PERMIT_POLL_INTERVAL, why));
            };
            cx.reporter.emit(Event::new(EventCode::BuildStarted).with("builder", builder.describe())).await;
            self.build(cx, &builder, &workspace, &image).await?;
        }
        if !builder.pushes() {
            // Also checks an image built earlier: the process may have died right before this check.
            refuse_oversized(cx, &image).await?;
        }
        if let Err(error) = remove_workspace(&cx.services.settings.workspace_dir, &cx.deployment.id).await {
            tracing::warn!(%error, "workspace not removed, leaving it to garbage collection");
        }
        Ok(StepOutcome::next(PushImage { image: image.clone(), ..PushImage::default() })
            .with_event(Event::new(EventCode::BuildCompleted).with("image_name", image)))
    }
}

/// Refuses an image whose unpacked size exceeds the limit, and removes it: it would fill the disks of all hosts that run it.
async fn refuse_oversized(cx: &StepContext<'_>, image: &str) -> Result<(), StepError> {
    let docker = cx.builder()?.builder.docker();
    let built = docker.find_image(image).await.map_err(StepError::from_client(ErrorCode::DockerUnavailable))?;
    let max = cx.services.settings.build_limits.image_bytes;
    let Some(size) = built.map(|built| built.size).filter(|size| *size > max) else { return Ok(()) };
    if let Err(error) = docker.remove_image(image).await {
        tracing::warn!(image, kind = ?error.kind, call = error.call, "oversized image not removed from the engine");
    }
    let reason = message!("reason.image_too_large", size, max);
    Err(StepError::fatal(ErrorCode::BuildFailed, reason))
}

impl BuildImage {
    /// Reports whether an earlier run of this step has built the image: in the engine, or in ECR if the builder pushes images itself.
    async fn was_built(&self, cx: &StepContext<'_>, builder: &DetectedBuilder, image: &str) -> Result<bool, StepError> {
        if builder.pushes() {
            let found = cx.user.ecr.find_image(&cx.deployment.ecr_repository, &cx.deployment.image_tag()).await;
            return match found {
                Ok(found) => Ok(found.is_some()),
                // The repository is created later in this step.
                Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(StepError::from_client(ErrorCode::EcrFailed)(error)),
            };
        }
        let found = cx.builder()?.builder.docker().find_image(image).await;
        Ok(found.map_err(StepError::from_client(ErrorCode::DockerUnavailable))?.is_some())
    }

    async fn build(
        &self,
        cx: &StepContext<'_>,
        builder: &DetectedBuilder,
        workspace: &Path,
        image: &str,
    ) -> Result<(), StepError> {
        let (deployment, settings) = (cx.deployment, &cx.services.settings);
        let repository = format!("{}/{}", deployment.owner, deployment.repo);
        let commit = deployment.facts.commit_sha.clone().unwrap_or_default();
        let labels = BTreeMap::from([
            (DEPLOYMENT_LABEL.to_owned(), deployment.id.clone()),
            ("org.opencontainers.image.revision".to_owned(), commit.clone()),
            ("org.opencontainers.image.source".to_owned(), repository),
        ]);
        let pushed_to = if builder.pushes() { Some(super::ecr_repository::ensure(cx).await?.uri) } else { None };
        let build = BuildJob {
            root: workspace,
            context: Path::new(&self.context),
            dockerfile: Path::new(&self.dockerfile),
            image: &pushed_to.map_or_else(|| image.to_owned(), |uri| format!("{uri}:{}", deployment.image_tag())),
            options: &self.options,
            own_args: BTreeMap::from([(COMMIT_ARG.to_owned(), commit)]),
            labels,
            committed_at: deployment.facts.committed_at,
            cache_domain: cx.builder()?.builder.cache_domain(&deployment.owner),
            cache: if builder.pushes() && settings.build_cache { super::ecr_repository::cache(cx).await } else { None },
            credentials: logins(cx).await?,
            secrets: self.secrets(cx),
            network: settings.build_network.as_deref(),
            limits: &settings.build_limits,
        };
        let (progress, mut received) = mpsc::channel(64);
        let emit = async {
            // Numbered, so that a build repeated after a crash does not store its first lines twice.
            let mut number = 0_u64;
            while let Some(progress) = received.recv().await {
                number += 1;
                cx.reporter.emit(event(progress, number)).await;
            }
        };
        let (outcome, ()) = tokio::join!(cx.builder()?.builder.build(builder, build, progress), emit);
        outcome.map(drop).map_err(|error| self.failure(error))
    }

    /// Collects the stored secrets that the build names. A secret deleted meanwhile is omitted, and the build reports it as missing.
    fn secrets(&self, cx: &StepContext<'_>) -> MountedSecrets {
        let stored = |name: &String| Some((name.clone(), cx.github.build_secrets.get(name)?.clone()));
        MountedSecrets(self.options.secrets.iter().filter_map(stored).collect())
    }

    /// Converts a build failure to the step's error: retryable if the same source may succeed later.
    fn failure(&self, error: BuildError) -> StepError {
        let (fault, message, last_lines) = match error {
            BuildError::Builder(error) => return StepError::from_client(ErrorCode::DockerUnavailable)(error),
            BuildError::Context(error) => return StepError::fatal(ErrorCode::BuildContextInvalid, error.to_string()),
            error @ BuildError::Unsupported(_) => {
                let reason = format!("`{}`, {error}", self.dockerfile);
                return StepError::fatal(ErrorCode::BuildkitRequired, reason);
            }
            BuildError::Failed { fault, message, last_lines } => (fault, message, last_lines),
        };
        let mut reason = message;
        for line in last_lines {
            reason.push('\n');
            reason.push_str(&line);
        }
        if fault.is_transient() {
            StepError::retryable(fault.code(), reason)
        } else {
            StepError::fatal(fault.code(), reason)
        }
    }
}

/// Creates the event of a line or of a finished build step. Both are lines; their details name the build step, its duration and its error.
fn event(progress: Progress, number: u64) -> Event {
    let event = Event::new(EventCode::BuildProgress).keyed(number);
    match progress {
        Progress::Line { step, line } => {
            let event = event.with("message", line.text).with_known("ansi", line.ansi.as_deref());
            match step {
                Some(step) => event.with("step", step),
                None => event,
            }
        }
        Progress::Ended(step) => event
            .with("message", step.to_string())
            .with("step", step.number)
            .with("started_at", step.started_at.to_rfc3339_opts(SecondsFormat::Millis, true))
            .with("duration_ms", step.duration_ms)
            .with("cached", step.cached)
            .with_known("error", step.error.as_deref())
            .with("name", step.name),
    }
}

/// Collects logins for base images and the push: the operator's for other registries, the account's own for its ECR.
async fn logins(cx: &StepContext<'_>) -> Result<Credentials, StepError> {
    let failed = StepError::from_client(ErrorCode::EcrFailed);
    let mut logins = cx.services.registry_logins.logins(&cx.deployment.owner, &cx.deployment.repo).map_err(&failed)?;
    match cx.user.ecr.login().await {
        Ok(login) => {
            let host = login.endpoint.trim_start_matches("https://").trim_start_matches("http://");
            logins.insert(host.trim_end_matches('/'), Login { username: login.username, password: login.password });
        }
        // A build without base images from ECR must not fail here; a build that needs the login reports its absence itself.
        Err(error) if error.kind == ErrorKind::Denied => {
            tracing::warn!(kind = ?error.kind, call = error.call, "no ECR login, building without it");
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(logins)
}
