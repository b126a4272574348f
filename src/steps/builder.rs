//! Selects the builder for a deployment's image.

use super::{StepContext, StepError};
use crate::clients::builder_pool::PooledBuilder;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;

impl StepContext<'_> {
    /// Returns the builder that serves this deployment's repository. Without one the step is retried, because an operator may configure it later.
    pub(super) fn builder(&self) -> Result<&PooledBuilder, StepError> {
        let (owner, repo) = (&self.deployment.owner, &self.deployment.repo);
        self.services.builders.of(owner, repo, &self.deployment.id).ok_or_else(|| {
            let reason = message!("reason.no_builder", repository = format!("{owner}/{repo}"));
            StepError::retryable(ErrorCode::DockerUnavailable, reason)
        })
    }
}
