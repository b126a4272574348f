//! The ECR repository of a deployment: looked up before the build, made sure of before the push.
//!
//! What only adds safety (the tag that names the owner) must not need a right that the work does not need: without that right the
//! deployment continues and says which one is missing.

use super::{Context, StepError};
use crate::clients::aws::EcrRepository;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;

/// ECR tag that says which source repository owns the name.
const SOURCE_TAG: &str = "panda:source";

/// A failed call to ECR; a denial names the right, since the call's name is IAM's.
pub(super) fn ecr_error(error: ClientError) -> StepError {
    let denied = error.kind == ErrorKind::Denied && error.call.starts_with("ecr:");
    StepError::from_client(if denied { ErrorCode::EcrAccessDenied } else { ErrorCode::EcrFailed })(error)
}

/// What would make the push fail for certain, found out before the build: a name that another source owns, or credentials that may
/// neither look at the repository nor log in. Changes nothing.
pub(super) async fn preflight(cx: &Context<'_>) -> Result<(), StepError> {
    if let Some(found) = cx.user.ecr.find_repository(&cx.deployment.ecr_repository).await.map_err(ecr_error)? {
        check_owner(cx, &found, 1).await?;
    }
    cx.user.ecr.login().await.map_err(ecr_error).map(|_| ())
}

/// Finds or creates the repository. Its name is ambiguous (`a/b-c`, `a-b/c`): one whose tag names another source is refused.
pub(super) async fn ensure(cx: &Context<'_>) -> Result<EcrRepository, StepError> {
    let name = &cx.deployment.ecr_repository;
    let found = match cx.user.ecr.find_repository(name).await.map_err(ecr_error)? {
        Some(found) => found,
        None => match create(cx).await {
            Ok(created) => created,
            // Another deployment was faster: its repository is checked like any other.
            Err(ClientError { kind: ErrorKind::Conflict, .. }) => {
                cx.user.ecr.find_repository(name).await.map_err(ecr_error)?.ok_or_else(|| {
                    StepError::retryable(ErrorCode::EcrFailed, format!("repository {name} exists and is not shown yet"))
                })?
            }
            Err(error) => return Err(ecr_error(error)),
        },
    };
    check_owner(cx, &found, 2).await?;
    Ok(found)
}

/// Days that a layer is kept in the cache repository after no tag leads to it any more.
const CACHE_DAYS: u32 = 7;

/// Where a remote builder keeps this source's layers: `{repository}-cache` in the same registry, as `name:tag`. None where it can be neither
/// found nor made: a build without cache takes longer, and is no failure.
pub(super) async fn cache(cx: &Context<'_>) -> Option<String> {
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
            tracing::warn!(repository = name, %error, "cache repository without lifecycle rule");
        }
        Ok::<EcrRepository, ClientError>(made)
    };
    match found.await {
        Ok(repository) => Some(format!("{}:layers", repository.uri)),
        Err(error) => {
            tracing::warn!(repository = name, %error, "no cache repository: building without cache");
            None
        }
    }
}

/// With the owner's tag; without it where the credentials may create but not tag.
async fn create(cx: &Context<'_>) -> Result<EcrRepository, ClientError> {
    let name = &cx.deployment.ecr_repository;
    match cx.user.ecr.create_repository(name, &[(SOURCE_TAG, &source(cx))]).await {
        Err(denied) if denied.kind == ErrorKind::Denied => match cx.user.ecr.create_repository(name, &[]).await {
            Ok(created) => {
                tracing::warn!(repository = name, error = %denied, "the repository was created without its owner's tag");
                report_missing_right(cx, "ecr:TagResource", 2).await;
                Ok(created)
            }
            Err(error) => Err(error),
        },
        other => other,
    }
}

/// Refuses a repository that another source owns. One whose tags cannot be read, or that has no such tag, is taken.
pub(super) async fn check_owner(cx: &Context<'_>, found: &EcrRepository, stage: u8) -> Result<(), StepError> {
    let Some(tags) = &found.tags else {
        report_missing_right(cx, "ecr:ListTagsForResource", stage).await;
        return Ok(());
    };
    let source = source(cx);
    match tags.get(SOURCE_TAG) {
        Some(other) if *other != source => {
            let reason = format!("{} belongs to {other}, not to {source}", cx.deployment.ecr_repository);
            Err(StepError::fatal(ErrorCode::RepositoryNameTaken, reason))
        }
        _ => Ok(()),
    }
}

fn source(cx: &Context<'_>) -> String {
    format!("{}/{}", cx.deployment.owner, cx.deployment.repo).to_lowercase()
}

/// Once a deployment and right, at the first stage that misses it.
async fn report_missing_right(cx: &Context<'_>, right: &str, stage: u8) {
    let event = Event::new(EventCode::OwnershipUnchecked).with("stage", stage).with("right", right).keyed(right);
    cx.reporter.tell(event).await;
}
