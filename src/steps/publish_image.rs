//! Stage 2 without layers to push: stores a manifest of an image that is in ECR already, because only a push starts the pipeline.
//!
//! It is not proven that ECR reports a new tag alone as a push, and an execution is found by its digest or tag. So the manifest differs from the
//! existing one by the deployment's tag, and has a unique digest and the same layers (`domain::manifest`, decision 0060). This serves deployments of an
//! existing image, and further attempts whose new tag started no execution. The tag is looked up first: a step that runs again finds its manifest.

use super::ecr_repository::{check_owner, ecr_error};
use super::{DEPLOYMENT_LABEL, FetchSource, FindExecution, StepContext, StepError, StepOutcome};
use crate::clients::aws::{EcrImage, EcrRepository};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use crate::domain::request::Purpose;

/// Publishes the image with this digest under this attempt's tag, unless the tag exists already.
pub(super) async fn publish(cx: &StepContext<'_>, digest: &str) -> Result<StepOutcome, StepError> {
    cx.reporter.emit(Event::new(EventCode::PushStageStarted)).await;
    let repository = repository(cx).await?;
    let tag = cx.deployment.image_tag();
    let stored = store(cx, &repository, digest, &tag, Event::new(EventCode::PushStarted)).await?;
    let Some(image) = stored else {
        let repository = &cx.deployment.ecr_repository;
        let mut what = message!("reason.no_image", repository, digest);
        if cx.deployment.requested.kind == Purpose::Rollback {
            let keep = cx.services.settings.keep_releases;
            what = message!("reason.rollback_image_gone", what, keep);
        }
        return Err(missing(cx, what));
    };
    let search =
        FindExecution { image_tag: tag.clone(), image_digest: image.digest.clone(), ..FindExecution::default() };
    Ok(pushed(&repository, &tag, image, search, Event::new(EventCode::PushCompleted)))
}

/// Pushes this attempt's image again with another manifest, under a separate tag: a repository may not permit to move one.
pub(super) async fn push_again(cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
    let repository = repository(cx).await?;
    let (name, image_tag, tag) =
        (&cx.deployment.ecr_repository, cx.deployment.image_tag(), cx.deployment.repeated_image_tag());
    let existing = cx.user.ecr.find_image(name, &image_tag).await.map_err(ecr_error)?;
    let stored = match existing {
        Some(image) => {
            let started = Event::new(EventCode::PushStarted).keyed("again");
            store(cx, &repository, &image.digest, &tag, started).await?
        }
        None => None,
    };
    // Removed meanwhile: it is built again, and pushed under the attempt's tag.
    let Some(image) = stored else { return Ok(StepOutcome::next(FetchSource {})) };
    let search = FindExecution { image_tag, image_digest: image.digest.clone(), existing: false, again: true };
    Ok(pushed(&repository, &tag, image, search, Event::new(EventCode::PushCompleted).keyed("again")))
}

/// Returns the repository, which must exist and belong to this source.
async fn repository(cx: &StepContext<'_>) -> Result<EcrRepository, StepError> {
    let name = &cx.deployment.ecr_repository;
    let Some(repository) = cx.user.ecr.find_repository(name).await.map_err(ecr_error)? else {
        return Err(missing(cx, message!("reason.no_ecr_repository", repository = name)));
    };
    check_owner(cx, &repository, 2).await?;
    Ok(repository)
}

/// Stores a distinct manifest of the image with `digest` under `tag`, unless the tag exists; `None` if the repository has no such image.
async fn store(
    cx: &StepContext<'_>,
    repository: &EcrRepository,
    digest: &str,
    tag: &str,
    started: Event,
) -> Result<Option<EcrImage>, StepError> {
    let (ecr, name) = (&cx.user.ecr, &cx.deployment.ecr_repository);
    if let Some(image) = ecr.find_image(name, tag).await.map_err(ecr_error)? {
        return Ok(Some(image));
    }
    let Some(manifest) = ecr.manifest(name, digest).await.map_err(ecr_error)? else { return Ok(None) };
    let manifest = manifest.distinct(DEPLOYMENT_LABEL, tag);
    let manifest =
        manifest.map_err(|why| StepError::fatal(ErrorCode::PushFailed, format!("{name}@{digest}: {why}")))?;
    cx.reporter.emit(started.with("uri", format!("{}:{tag}", repository.uri))).await;
    ecr.put_manifest(name, tag, manifest).await.map_err(StepError::from_client(ErrorCode::PushFailed))?;
    let listed = ecr.find_image(name, tag).await.map_err(ecr_error)?;
    let Some(image) = listed else {
        let reason = message!("reason.image_unlisted", image = format!("{name}:{tag}"));
        return Err(StepError::retryable(ErrorCode::EcrFailed, reason));
    };
    Ok(Some(image))
}

fn pushed(
    repository: &EcrRepository,
    tag: &str,
    image: EcrImage,
    search: FindExecution,
    completed: Event,
) -> StepOutcome {
    let uri = format!("{}:{tag}", repository.uri);
    StepOutcome::next(search).with_event(completed.with("uri", uri.as_str())).with_facts(Facts {
        image_uri: Some(uri),
        image_digest: Some(image.digest),
        image_pushed_at: image.pushed_at,
        ..Facts::default()
    })
}

fn missing(cx: &StepContext<'_>, what: Message) -> StepError {
    let (account, region) = (&cx.deployment.account_id, &cx.deployment.region);
    StepError::fatal(ErrorCode::ImageNotFound, message!("reason.missing_in", what, account, region))
}
