//! The ECR repository of a deployment: checked before the build, created if necessary before the push.
//!
//! Features that only add safety (the tag with the owner) must not require a permission that the deployment itself does not need: without it the
//! deployment continues and reports the missing permission.

use super::{StepContext, StepError};
use crate::clients::aws::EcrRepository;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::names::SOURCE_TAG;

/// Converts a failed call to ECR. A denial names the missing permission, because the call is named like it.
pub(super) fn ecr_error(error: ClientError) -> StepError {
    let denied = error.kind == ErrorKind::Denied && error.call.starts_with("ecr:");
    StepError::from_client(if denied { ErrorCode::EcrAccessDenied } else { ErrorCode::EcrFailed })(error)
}

/// Detects before the build, without changes, that a push is certain to fail: another source owns the repository name, or the credentials can neither
/// describe the repository nor log in.
pub(super) async fn preflight(cx: &StepContext<'_>) -> Result<(), StepError> {
    if let Some(found) = cx.user.ecr.find_repository(&cx.deployment.ecr_repository).await.map_err(ecr_error)? {
        check_owner(cx, &found, 1).await?;
    }
    cx.user.ecr.login().await.map_err(ecr_error).map(|_| ())
}

/// Finds or creates the repository. Its name is ambiguous (`a/b-c`, `a-b/c`): a repository whose tag names another source is refused.
pub(super) async fn ensure(cx: &StepContext<'_>) -> Result<EcrRepository, StepError> {
    let name = &cx.deployment.ecr_repository;
    let found = match cx.user.ecr.find_repository(name).await.map_err(ecr_error)? {
        Some(found) => found,
        None => match create(cx).await {
            Ok(created) => created,
            // Another deployment created it first: its owner is checked as for any existing repository.
            Err(ClientError { kind: ErrorKind::Conflict, .. }) => {
                cx.user.ecr.find_repository(name).await.map_err(ecr_error)?.ok_or_else(|| {
                    StepError::retryable(
                        ErrorCode::EcrFailed,
                        message!("reason.repository_unlisted", repository = name),
                    )
                })?
            }
            Err(error) => return Err(ecr_error(error)),
        },
    };
    check_owner(cx, &found, 2).await?;
    Ok(found)
}

/// Days after which the cache repository deletes a layer without tags.
const CACHE_DAYS: u32 = 7;

/// Returns the image reference under which a remote builder caches this source's layers: `{repository}-cache` in the same registry, as `name:tag`.
/// `None` if the repository can be neither found nor created: a build without cache takes longer, but is not a failure.
pub(super) async fn cache(cx: &StepContext<'_>) -> Option<String> {
    let name = format!("{}-cache", cx.deployment.ecr_repository);
    let ecr = &cx.user.ecr;
    let found = async {
        if let Some(found) = ecr.find_repository(&name).await? {
            return Ok(found);
        }
        // Its tags must be mutable, which is ECR's default.
        let made = match ecr.create_repository(&name, &[]).await {
            Err(error) if error.kind == ErrorKind::Conflict => ecr.find_repository(&name).await?.ok_or(error)?,
            made => made?,
        };
        if let Err(error) = ecr.expire_untagged(&name, CACHE_DAYS).await {
            tracing::warn!(repository = name, kind = ?error.kind, call = error.call, "cache repository has no lifecycle rule");
        }
        Ok::<EcrRepository, ClientError>(made)
    };
    match found.await {
        Ok(repository) => Some(format!("{}:layers", repository.uri)),
        Err(error) => {
            tracing::warn!(repository = name, kind = ?error.kind, call = error.call, "no cache repository, building without cache");
            None
        }
    }
}

/// Creates the repository with the owner's tag, or without it if the credentials may create but not tag.
async fn create(cx: &StepContext<'_>) -> Result<EcrRepository, ClientError> {
    let name = &cx.deployment.ecr_repository;
    match cx.user.ecr.create_repository(name, &[(SOURCE_TAG, &source(cx))]).await {
        Err(denied) if denied.kind == ErrorKind::Denied => match cx.user.ecr.create_repository(name, &[]).await {
            Ok(created) => {
                tracing::warn!(repository = name, kind = ?denied.kind, call = denied.call, "repository created without its owner's tag");
                report_missing_right(cx, "ecr:TagResource", 2).await;
                Ok(created)
            }
            Err(error) => Err(error),
        },
        other => other,
    }
}

/// Refuses a repository that another source owns. A repository without the tag, or with unreadable tags, is accepted.
pub(super) async fn check_owner(cx: &StepContext<'_>, found: &EcrRepository, stage: u8) -> Result<(), StepError> {
    let Some(tags) = &found.tags else {
        report_missing_right(cx, "ecr:ListTagsForResource", stage).await;
        return Ok(());
    };
    let source = source(cx);
    match tags.get(SOURCE_TAG) {
        Some(other) if *other != source => {
            let repository = &cx.deployment.ecr_repository;
            let reason = message!("reason.repository_of_other", repository, other, source);
            Err(StepError::fatal(ErrorCode::RepositoryNameTaken, reason))
        }
        _ => Ok(()),
    }
}

fn source(cx: &StepContext<'_>) -> String {
    format!("{}/{}", cx.deployment.owner, cx.deployment.repo).to_lowercase()
}

/// Emits the event once per deployment and permission, at the first stage that lacks it.
async fn report_missing_right(cx: &StepContext<'_>, right: &str, stage: u8) {
    let event = Event::new(EventCode::OwnershipUnchecked).with("stage", stage).with("right", right).keyed(right);
    cx.reporter.emit(event).await;
}
