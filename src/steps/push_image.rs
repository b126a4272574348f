//! Stage 2: the image in ECR. Its push is what starts the pipeline, so it is made once: the tag is looked for first.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Context, FetchSource, FindExecution, Lane, Outcome, Run, StepError};
use crate::clients::aws::EcrRepository;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;

/// ECR tag that says which source repository owns the name.
const SOURCE_TAG: &str = "panda:source";

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PushImage {
    /// The image in the engine, as `name:tag`.
    pub image: String,
    /// Whether an attempt before may have pushed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
}

impl Run for PushImage {
    const NAME: &'static str = "push_image";
    const STAGE: u8 = 2;
    const LANE: Lane = Lane::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::PushFailed;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let failed = StepError::from_client(ErrorCode::EcrFailed);
        let (name, tag) = (&cx.deployment.ecr_repository, &cx.deployment.image_tag());
        cx.reporter.tell(Event::new(EventCode::PushStageStarted)).await;
        let repository = ensure_repository(cx).await?;
        cx.reporter.tell(Event::new(EventCode::EcrRepositoryEnsured).with("repository", name.as_str())).await;
        let uri = format!("{}:{tag}", repository.uri);
        if self.reuse {
            reuse(cx, tag).await?;
        }
        let pushed = cx.user.ecr.find_image(name, tag).await.map_err(&failed)?;
        let (digest, pushed_at) = match pushed {
            Some(image) => (image.digest, image.pushed_at),
            None => match self.push(cx, &repository.uri, &uri).await? {
                Some(digest) => {
                    (digest, cx.user.ecr.find_image(name, tag).await.map_err(&failed)?.and_then(|i| i.pushed_at))
                }
                // The image was built on a replica whose engine we do not see: build it here.
                None => return Ok(Outcome::next(FetchSource {})),
            },
        };
        for image in [&self.image, &uri] {
            // Not there: another attempt's push, or another replica's engine.
            if let Err(error) = cx.services.docker.remove_image(image).await
                && error.kind != ErrorKind::NotFound
            {
                tracing::warn!(image, %error, "the pushed image could not be removed from the engine");
            }
        }
        Ok(Outcome::next(FindExecution { image_tag: tag.clone(), image_digest: digest.clone() })
            .telling(Event::new(EventCode::PushCompleted).with("uri", uri.as_str()))
            .learning(Facts {
                image_uri: Some(uri),
                image_digest: Some(digest),
                image_pushed_at: pushed_at,
                ..Facts::default()
            }))
    }
}

impl PushImage {
    /// Pushes the image and returns its digest; none when the engine does not have it.
    async fn push(&self, cx: &Context<'_>, repository_uri: &str, uri: &str) -> Result<Option<String>, StepError> {
        let unavailable = StepError::from_client(ErrorCode::DockerUnavailable);
        let docker = &cx.services.docker;
        if docker.find_image(&self.image).await.map_err(&unavailable)?.is_none() {
            return Ok(None);
        }
        cx.reporter.tell(Event::new(EventCode::EcrLoginStarted)).await;
        let login = cx.user.ecr.login().await.map_err(StepError::from_client(ErrorCode::EcrFailed))?;
        cx.reporter.tell(Event::new(EventCode::EcrLoginCompleted)).await;
        docker.tag(&self.image, uri).await.map_err(&unavailable)?;
        cx.reporter.tell(Event::new(EventCode::PushStarted).with("uri", uri)).await;
        let (lines, mut received) = mpsc::channel(64);
        let tell_lines = async {
            let mut number = 0_u64;
            while let Some(line) = received.recv().await {
                number += 1;
                let line: crate::clients::docker::PushLine = line;
                cx.reporter
                    .tell(Event::new(EventCode::PushProgress).with("message", line.to_string()).keyed(number))
                    .await;
            }
        };
        let tag = cx.deployment.image_tag();
        let (pushed, ()) = tokio::join!(docker.push(repository_uri, &tag, &login, lines), tell_lines);
        pushed.map(|pushed| Some(pushed.digest)).map_err(StepError::from_client(ErrorCode::PushFailed))
    }
}

/// Gives the newest image of the attempts before the tag of this one: ECR tells that as a push, which starts the pipeline.
async fn reuse(cx: &Context<'_>, tag: &str) -> Result<(), StepError> {
    let failed = StepError::from_client(ErrorCode::EcrFailed);
    let (ecr, name) = (&cx.user.ecr, &cx.deployment.ecr_repository);
    if ecr.find_image(name, tag).await.map_err(&failed)?.is_some() {
        return Ok(());
    }
    for earlier in cx.deployment.earlier_image_tags() {
        if ecr.tag_image(name, &earlier, tag).await.map_err(&failed)? {
            break;
        }
    }
    Ok(())
}

/// Finds or creates the repository. Its name is ambiguous (`a/b-c`, `a-b/c`): one that says it belongs to another source is refused.
async fn ensure_repository(cx: &Context<'_>) -> Result<EcrRepository, StepError> {
    let failed = StepError::from_client(ErrorCode::EcrFailed);
    let name = &cx.deployment.ecr_repository;
    let source = format!("{}/{}", cx.deployment.owner, cx.deployment.repo).to_lowercase();
    let found = match cx.user.ecr.find_repository(name).await.map_err(&failed)? {
        Some(found) => found,
        None => match cx.user.ecr.create_repository(name, &[(SOURCE_TAG, &source)]).await {
            Ok(created) => created,
            // Somebody was faster: what they made is looked at like any other.
            Err(ClientError { kind: ErrorKind::Conflict, .. }) => {
                cx.user.ecr.find_repository(name).await.map_err(&failed)?.ok_or_else(|| {
                    StepError::retryable(ErrorCode::EcrFailed, format!("repository {name} exists and is not shown yet"))
                })?
            }
            Err(error) => return Err(failed(error)),
        },
    };
    match found.tags.get(SOURCE_TAG) {
        Some(other) if *other != source => {
            Err(StepError::fatal(ErrorCode::RepositoryNameTaken, format!("{name} belongs to {other}, not to {source}")))
        }
        _ => Ok(found),
    }
}
