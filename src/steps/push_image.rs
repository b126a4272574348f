//! Stage 2: the image in ECR. Its push is what starts the pipeline, so it is made once: the tag is looked for first.
//!
//! A push that was interrupted is repeated, and the registry keeps the layers that it has. So the run after an expired login, a registry in
//! trouble or a lost upload resumes where the one before stopped, within the step's limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ecr_repository::{ecr_error, ensure};
use super::publish_image::publish;
use super::{Context, FetchSource, FindExecution, Lane, Outcome, Run, Settings, StepError};
use crate::clients::aws::{EcrImage, RegistryLogin};
use crate::clients::docker::{PushError, PushLine};
use crate::clients::registry::{LoginCheck, check_login};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::text;

/// Logins of one attempt that may be refused in the middle of a push.
const MAX_RENEWALS: u8 = 20;

/// A login that served this long was accepted, whatever the registry says of it then.
const LOGIN_SERVED: Duration = Duration::from_mins(1);

/// Between a refused login and the next one: a right that was just given takes a moment to be known everywhere.
const AFTER_DENIAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct PushImage {
    /// The image in the engine, as `name:tag`.
    pub image: String,
    /// Whether an attempt before may have pushed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// How often the login was refused in the middle of the push and had to be renewed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renewals: u8,
    /// Digest of an image that is in ECR already: published under the attempt's tag instead. A state of this step, not a step of its own,
    /// because reports know stages by the names of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(renewals: &u8) -> bool {
    *renewals == 0
}

/// How a push ended.
enum Push {
    /// The registry has the image.
    Done(EcrImage),
    /// The engine does not have the image.
    NotBuilt,
    /// The login has to be renewed.
    Refused(Refusal),
}

struct Refusal {
    error: ClientError,
    login: RegistryLogin,
    /// Whether the login was accepted before it was refused.
    served: bool,
}

impl Run for PushImage {
    const NAME: &'static str = "push_image";
    const STAGE: u8 = 2;
    const LANE: Lane = Lane::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::PushFailed;

    fn limit(settings: &Settings) -> Duration {
        settings.push_limit
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        if let Some(digest) = &self.publish {
            return publish(cx, digest).await;
        }
        let (name, tag) = (&cx.deployment.ecr_repository, &cx.deployment.image_tag());
        cx.reporter.tell(Event::new(EventCode::PushStageStarted)).await;
        let repository = ensure(cx).await?;
        cx.reporter.tell(Event::new(EventCode::EcrRepositoryEnsured).with("repository", name.as_str())).await;
        let uri = format!("{}:{tag}", repository.uri);
        if self.reuse {
            reuse(cx, tag).await?;
        }
        let image = match cx.user.ecr.find_image(name, tag).await.map_err(ecr_error)? {
            Some(image) => image,
            None => match self.push(cx, &repository.uri, &uri).await? {
                Push::Done(image) => image,
                // The image was built on a replica whose engine we do not see: build it here.
                Push::NotBuilt => return Ok(Outcome::next(FetchSource {})),
                Push::Refused(refusal) => return self.renew(refusal).await,
            },
        };
        let builder = &cx.builder()?.builder;
        let kept = if builder.pushes() { &[][..] } else { &[&self.image, &uri][..] };
        for image in kept {
            // Not there: another attempt's push, or another replica's engine.
            if let Err(error) = builder.docker().remove_image(image).await
                && error.kind != ErrorKind::NotFound
            {
                tracing::warn!(image, %error, "the pushed image could not be removed from the engine");
            }
        }
        Ok(Outcome::next(FindExecution { image_tag: tag.clone(), image_digest: image.digest.clone() })
            .telling(Event::new(EventCode::PushCompleted).with("uri", uri.as_str()))
            .learning(Facts {
                image_uri: Some(uri),
                image_digest: Some(image.digest),
                image_pushed_at: image.pushed_at,
                ..Facts::default()
            }))
    }
}

impl PushImage {
    /// Logs in and pushes the image.
    async fn push(&self, cx: &Context<'_>, repository_uri: &str, uri: &str) -> Result<Push, StepError> {
        let unavailable = StepError::from_client(ErrorCode::DockerUnavailable);
        let builder = &cx.builder()?.builder;
        if builder.pushes() {
            // No engine has it: what such a builder makes, it makes again from its cache.
            return Ok(Push::NotBuilt);
        }
        let docker = builder.docker();
        if docker.find_image(&self.image).await.map_err(&unavailable)?.is_none() {
            return Ok(Push::NotBuilt);
        }
        cx.reporter.tell(Event::new(EventCode::EcrLoginStarted)).await;
        let login = cx.user.ecr.login().await.map_err(ecr_error)?;
        let logged_in = Instant::now();
        cx.reporter.tell(Event::new(EventCode::EcrLoginCompleted)).await;
        docker.tag(&self.image, uri).await.map_err(&unavailable)?;
        cx.reporter.tell(Event::new(EventCode::PushStarted).with("uri", uri)).await;
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
            // Removed between the look and the push: the next run finds that out.
            Err(PushError::Engine(error)) if error.kind == ErrorKind::NotFound => {
                Err(StepError::retryable(ErrorCode::DockerUnavailable, error.to_string()))
            }
            Err(PushError::Engine(error)) => Err(unavailable(error)),
            Err(PushError::Registry(error)) => match error.kind {
                ErrorKind::Denied => {
                    let served = any_layer || logged_in.elapsed() >= LOGIN_SERVED;
                    Ok(Push::Refused(Refusal { error, login, served }))
                }
                // Tags of this repository are immutable, and ours is there: a push of ours whose answer was lost.
                ErrorKind::Conflict => match find().await? {
                    Some(image) => Ok(Push::Done(image)),
                    None => Err(StepError::retryable(ErrorCode::PushFailed, error.to_string())),
                },
                // The repository was deleted meanwhile: the next run creates it again.
                ErrorKind::NotFound => Err(StepError::retryable(ErrorCode::PushFailed, error.to_string())),
                ErrorKind::Throttled | ErrorKind::Unavailable => {
                    Err(StepError::retryable(ErrorCode::RegistryUnavailable, error.to_string()))
                }
                ErrorKind::Invalid => Err(StepError::fatal(ErrorCode::PushFailed, error.to_string())),
            },
        }
    }

    /// Decides what a refused login means: one that served has expired, and the push resumes with a new one. A fresh one that is refused is
    /// tried once more; then the refusal is final, unless the registry itself is in trouble.
    async fn renew(&self, Refusal { error, login, served }: Refusal) -> Result<Outcome, StepError> {
        let said = text::reason(&error.to_string());
        if self.renewals < MAX_RENEWALS && (served || self.renewals == 0) {
            tracing::info!(reason = said, renewals = self.renewals, served, "the push was denied: logging in again");
            let again = Self { renewals: self.renewals + 1, ..self.clone() };
            return Ok(Outcome::wait(again, AFTER_DENIAL, said));
        }
        let reason = match check_login(&login).await {
            LoginCheck::Busy(answer) => {
                let reason = format!("{said}; the registry itself answers with {answer}");
                return Err(StepError::retryable(ErrorCode::RegistryUnavailable, reason));
            }
            LoginCheck::Accepted => format!(
                "{said}; the registry accepts the login, so a right to push is missing (ecr:BatchCheckLayerAvailability, \
                 ecr:InitiateLayerUpload, ecr:UploadLayerPart, ecr:CompleteLayerUpload, ecr:PutImage)"
            ),
            LoginCheck::Refused => format!("{said}; the registry refuses the login that ECR has just issued"),
            LoginCheck::Unknown(why) => {
                tracing::warn!(why, "the registry could not be asked about the login");
                said
            }
        };
        Err(StepError::fatal(ErrorCode::RegistryAccessDenied, reason))
    }
}

/// Reports changes of layers as events; whether a layer was accepted.
async fn report_lines(cx: &Context<'_>, mut received: mpsc::Receiver<PushLine>) -> bool {
    let (mut number, mut any_layer) = (0_u64, false);
    while let Some(line) = received.recv().await {
        number += 1;
        any_layer |= line.status == "Pushed";
        let event = Event::new(EventCode::PushProgress).with("message", line.to_string()).keyed(number);
        cx.reporter.tell(event).await;
    }
    any_layer
}

/// Gives the newest image of the attempts before the tag of this one: ECR tells that as a push, which starts the pipeline.
async fn reuse(cx: &Context<'_>, tag: &str) -> Result<(), StepError> {
    let (ecr, name) = (&cx.user.ecr, &cx.deployment.ecr_repository);
    if ecr.find_image(name, tag).await.map_err(ecr_error)?.is_some() {
        return Ok(());
    }
    for earlier in cx.deployment.earlier_image_tags() {
        match ecr.tag_image(name, &earlier, tag).await {
            Ok(true) => break,
            Ok(false) => {}
            // Reading the manifest saves a build and no more: the image is built again.
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::warn!(%error, "the image of the attempt before cannot be used again");
                break;
            }
            Err(error) => return Err(ecr_error(error)),
        }
    }
    Ok(())
}
