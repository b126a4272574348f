//! Stage 2: pushes the image to ECR. The push starts the pipeline, so it must happen once: the tag is checked first.
//!
//! An interrupted push is repeated, and the registry keeps the layers that it already has. So after an expired login, a registry failure or a lost
//! upload, the next run resumes the push, within the step's time limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ecr_repository::{ecr_error, ensure};
use super::publish_image::{publish, push_again};
use super::{
    FetchSource, FindExecution, ResourceClass, RunStep, Settings, StepContext, StepError, StepOutcome, is_default,
};
use crate::clients::aws::{EcrImage, RegistryLogin};
use crate::clients::docker::{PushError, PushLine};
use crate::clients::registry::{LoginCheck, check_login};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use crate::domain::text;

/// Maximum number of logins of one attempt that may be refused in the middle of a push.
const MAX_RENEWALS: u8 = 20;

/// A login that worked for this long was valid, whatever the registry answers afterwards.
const PROVEN_LOGIN_AGE: Duration = Duration::from_mins(1);

/// Time between a refused login and the next one: a new permission needs a moment to take effect everywhere.
const DENIAL_RETRY_DELAY: Duration = Duration::from_secs(1);

/// State of the push step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct PushImage {
    /// Image in the engine, as `name:tag`.
    pub image: String,
    /// Set when an earlier attempt may have pushed the image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// Number of logins that were refused in the middle of the push and had to be renewed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub renewals: u8,
    /// Digest of an image that is in ECR already, to be published under the attempt's tag instead. Part of this step's state, not a separate step,
    /// because reports identify stages by step names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
    /// Set when the new tag of an image of an earlier attempt started no execution: it is pushed again with another manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// Result of a push.
enum Push {
    /// The registry has the image.
    Done(EcrImage),
    /// The engine does not have the image, so it must be built.
    NotBuilt,
    /// The login was refused and must be renewed.
    Refused(Refusal),
}

struct Refusal {
    error: ClientError,
    login: RegistryLogin,
    /// Set when the login was accepted before it was refused.
    accepted: bool,
}

impl RunStep for PushImage {
    const NAME: &'static str = "push_image";
    const STAGE: u8 = 2;
    const RESOURCE_CLASS: ResourceClass = ResourceClass::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::PushFailed;

    fn limit(settings: &Settings) -> Duration {
        settings.push_limit
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        if let Some(digest) = &self.publish {
            return publish(cx, digest).await;
        }
        if self.again {
            return push_again(cx).await;
        }
        let (name, tag) = (&cx.deployment.ecr_repository, &cx.deployment.image_tag());
        cx.reporter.emit(Event::new(EventCode::PushStageStarted)).await;
        let repository = ensure(cx).await?;
        cx.reporter.emit(Event::new(EventCode::EcrRepositoryEnsured).with("repository", name.as_str())).await;
        let uri = format!("{}:{tag}", repository.uri);
        if self.reuse {
            reuse(cx, tag).await?;
        }
        let image = match cx.user.ecr.find_image(name, tag).await.map_err(ecr_error)? {
            Some(image) => image,
            None => match self.push(cx, &repository.uri, &uri).await? {
                Push::Done(image) => image,
                // The image was built in an engine that this replica cannot reach: build it here.
                Push::NotBuilt => return Ok(StepOutcome::next(FetchSource {})),
                Push::Refused(refusal) => return self.renew(refusal).await,
            },
        };
        let builder = &cx.builder()?.builder;
        let kept = if builder.pushes() { &[][..] } else { &[&self.image, &uri][..] };
        for image in kept {
            // Not found if another attempt pushed it, or if it is in another replica's engine.
            if let Err(error) = builder.docker().remove_image(image).await
                && error.kind != ErrorKind::NotFound
            {
                tracing::warn!(image, kind = ?error.kind, call = error.call, "pushed image not removed from the engine");
            }
        }
        // Found after a crash, it may have been pushed as well; looking twice is harmless.
        let (existing, image_digest) = (self.reuse, image.digest.clone());
        Ok(StepOutcome::next(FindExecution { image_tag: tag.clone(), image_digest, existing, again: false })
            .with_event(Event::new(EventCode::PushCompleted).with("uri", uri.as_str()))
            .with_facts(Facts {
                image_uri: Some(uri),
                image_digest: Some(image.digest),
                image_pushed_at: image.pushed_at,
                ..Facts::default()
            }))
    }
}

impl PushImage {
    /// Logs in and pushes the image.
    async fn push(&self, cx: &StepContext<'_>, repository_uri: &str, uri: &str) -> Result<Push, StepError> {
        let unavailable = StepError::from_client(ErrorCode::DockerUnavailable);
        let builder = &cx.builder()?.builder;
        if builder.pushes() {
            // No engine keeps the image: the builder builds it again from its cache.
            return Ok(Push::NotBuilt);
        }
        let docker = builder.docker();
        if docker.find_image(&self.image).await.map_err(&unavailable)?.is_none() {
            return Ok(Push::NotBuilt);
        }
        cx.reporter.emit(Event::new(EventCode::EcrLoginStarted)).await;
        let login = cx.user.ecr.login().await.map_err(ecr_error)?;
        let logged_in = Instant::now();
        cx.reporter.emit(Event::new(EventCode::EcrLoginCompleted)).await;
        docker.tag(&self.image, uri).await.map_err(&unavailable)?;
        cx.reporter.emit(Event::new(EventCode::PushStarted).with("uri", uri)).await;
        let (lines, received) = mpsc::channel(64);
        let tag = cx.deployment.image_tag();
        let (pushed, any_layer) =
            tokio::join!(docker.push(repository_uri, &tag, &login, lines), report_lines(cx, received));
        let find = async || cx.user.ecr.find_image(&cx.deployment.ecr_repository, &tag).await.map_err(ecr_error);
        match pushed {
            Ok(pushed) => {
                let pushed_at = find().await?.and_then(|image| image.pushed_at);
                Ok(Push::Done(EcrImage { digest: pushed.digest, pushed_at }))
            }
            // Removed between the check and the push: the next run handles that.
            Err(PushError::Engine(error)) if error.kind == ErrorKind::NotFound => {
                Err(StepError::retryable(ErrorCode::DockerUnavailable, error.to_string()))
            }
            Err(PushError::Engine(error)) => Err(unavailable(error)),
            Err(PushError::Registry(error)) => match error.kind {
                ErrorKind::Denied | ErrorKind::Credentials => {
                    let accepted = any_layer || logged_in.elapsed() >= PROVEN_LOGIN_AGE;
                    Ok(Push::Refused(Refusal { error, login, accepted }))
                }
                // Tags of this repository are immutable, and the tag exists: an earlier push whose response was lost.
                ErrorKind::Conflict => match find().await? {
                    Some(image) => Ok(Push::Done(image)),
                    None => Err(StepError::retryable(ErrorCode::PushFailed, error.to_string())),
                },
                // The repository was deleted meanwhile: the next run creates it again.
                ErrorKind::NotFound => Err(StepError::retryable(ErrorCode::PushFailed, error.to_string())),
                ErrorKind::Throttled | ErrorKind::Unavailable => {
                    Err(StepError::retryable(ErrorCode::RegistryUnavailable, error.to_string()))
                }
                ErrorKind::Invalid | ErrorKind::LimitExceeded => {
                    Err(StepError::fatal(ErrorCode::PushFailed, error.to_string()))
                }
            },
        }
    }

    /// Interprets a refused login. A login that worked before has expired, and the push resumes with a new one. A new login that is refused is tried
    /// once more; after that the refusal is final, unless the registry itself fails.
    async fn renew(&self, Refusal { error, login, accepted }: Refusal) -> Result<StepOutcome, StepError> {
        let reason = text::reason(&error.to_string());
        if self.renewals < MAX_RENEWALS && (accepted || self.renewals == 0) {
            tracing::info!(renewals = self.renewals, accepted, "push denied, logging in again");
            let again = Self { renewals: self.renewals + 1, ..self.clone() };
            return Ok(StepOutcome::wait(again, DENIAL_RETRY_DELAY, reason));
        }
        let reason = match check_login(&login).await {
            LoginCheck::Busy(answer) => {
                let reason = message!("reason.registry_busy", reason, answer);
                return Err(StepError::retryable(ErrorCode::RegistryUnavailable, reason));
            }
            LoginCheck::Accepted => message!("reason.push_not_permitted", reason),
            LoginCheck::Refused => message!("reason.login_refused", reason),
            LoginCheck::Unknown(why) => {
                tracing::warn!(why, "login not checked, registry unreachable");
                Message::verbatim(reason)
            }
        };
        Err(StepError::fatal(ErrorCode::RegistryAccessDenied, reason))
    }
}

/// Emits changes of layers as events. Returns whether a layer was accepted.
async fn report_lines(cx: &StepContext<'_>, mut received: mpsc::Receiver<PushLine>) -> bool {
    let (mut number, mut any_layer) = (0_u64, false);
    while let Some(line) = received.recv().await {
        number += 1;
        any_layer |= line.status == "Pushed";
        let event = Event::new(EventCode::PushProgress).with("message", line.to_string()).keyed(number);
        cx.reporter.emit(event).await;
    }
    any_layer
}

/// Adds this attempt's tag to the newest image of earlier attempts. ECR may report that as a push, which starts the pipeline; if it does not, the step
/// that waits for the execution returns here (see [`push_again`]).
async fn reuse(cx: &StepContext<'_>, tag: &str) -> Result<(), StepError> {
    let (ecr, name) = (&cx.user.ecr, &cx.deployment.ecr_repository);
    if ecr.find_image(name, tag).await.map_err(ecr_error)?.is_some() {
        return Ok(());
    }
    for earlier in cx.deployment.earlier_image_tags() {
        match ecr.tag_image(name, &earlier, tag).await {
            Ok(true) => break,
            Ok(false) => {}
            // Reusing the manifest only saves a build: without it the image is built again.
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::warn!(kind = ?error.kind, call = error.call, "image of an earlier attempt not reusable, building again");
                break;
            }
            Err(error) => return Err(ecr_error(error)),
        }
    }
    Ok(())
}
