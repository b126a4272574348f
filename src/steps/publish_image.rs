//! Stage 2 of a deployment of an image that is in ECR already: nothing is built, but the pipeline has to be started.
//!
//! Only a push starts it. It is not proven that ECR reports a new tag alone as a push, and an execution is found by its digest; so the image gets a
//! manifest with an annotation that names the deployment. It has the same layers, and a unique digest.

use super::ecr_repository::{check_owner, ecr_error};
use super::{DEPLOYMENT_LABEL, FindExecution, StepContext, StepError, StepOutcome};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;

/// Publishes the image with this digest under this attempt's tag, unless the tag exists already.
pub(super) async fn publish(cx: &StepContext<'_>, digest: &str) -> Result<StepOutcome, StepError> {
    let (ecr, name, tag) = (&cx.user.ecr, &cx.deployment.ecr_repository, cx.deployment.image_tag());
    let missing = |what: String| {
        let (account, region) = (&cx.deployment.account_id, &cx.deployment.region);
        StepError::fatal(ErrorCode::ImageNotFound, format!("{what} in account {account}, region {region}"))
    };
    cx.reporter.emit(Event::new(EventCode::PushStageStarted)).await;
    let Some(repository) = ecr.find_repository(name).await.map_err(ecr_error)? else {
        return Err(missing(format!("there is no ECR repository {name}")));
    };
    check_owner(cx, &repository, 2).await?;
    let uri = format!("{}:{tag}", repository.uri);
    if ecr.find_image(name, &tag).await.map_err(ecr_error)?.is_none() {
        let Some(manifest) = ecr.manifest(name, digest).await.map_err(ecr_error)? else {
            return Err(missing(format!("the ECR repository {name} has no image {digest}")));
        };
        let manifest = manifest.annotated(DEPLOYMENT_LABEL, &tag);
        let manifest =
            manifest.map_err(|why| StepError::fatal(ErrorCode::PushFailed, format!("{name}@{digest}: {why}")))?;
        cx.reporter.emit(Event::new(EventCode::PushStarted).with("uri", uri.as_str())).await;
        ecr.put_manifest(name, &tag, manifest).await.map_err(StepError::from_client(ErrorCode::PushFailed))?;
    }
    let Some(pushed) = ecr.find_image(name, &tag).await.map_err(ecr_error)? else {
        return Err(StepError::retryable(
            ErrorCode::EcrFailed,
            format!("{name}:{tag} was pushed, but is not listed yet"),
        ));
    };
    Ok(StepOutcome::next(FindExecution { image_tag: tag, image_digest: pushed.digest.clone() })
        .with_event(Event::new(EventCode::PushCompleted).with("uri", uri.as_str()))
        .with_facts(Facts {
            image_uri: Some(uri),
            image_digest: Some(pushed.digest),
            image_pushed_at: pushed.pushed_at,
            ..Facts::default()
        }))
}
