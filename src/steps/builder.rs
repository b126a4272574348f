//! Which builder a deployment's image comes from.

use super::{Context, StepError};
use crate::clients::builders::Pooled;
use crate::domain::failure::ErrorCode;

impl Context<'_> {
    /// The builder that serves this deployment's repository. One that is configured later is waited for.
    pub(super) fn builder(&self) -> Result<&Pooled, StepError> {
        let (owner, repo) = (&self.deployment.owner, &self.deployment.repo);
        self.services.builders.of(owner, repo, &self.deployment.id).ok_or_else(|| {
            let reason = format!("no builder serves {owner}/{repo}; PANDA_BUILDERS names them with their scopes");
            StepError::retryable(ErrorCode::DockerUnavailable, reason)
        })
    }
}
