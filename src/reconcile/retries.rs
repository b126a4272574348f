//! Retries of a step that failed temporarily, and its end: at the time limit, and after repeated crashes.
//!
//! Time in which a service throttles Panda does not count against the limits (decision 0056): [`StepProgress::extend`] extends them.

use std::time::Duration;

use super::driver::{Driver, NextAction};
use super::limits::{MAX_THROTTLED, RETRY_BASE, RETRY_CAP, SUSPICIOUS_CLAIMS};
use super::step_progress::StepProgress;
use crate::clients::aws::UserAws;
use crate::db::DbError;
use crate::db::commit::Change;
use crate::domain::backoff;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::{AwsConnection, Deployment, GithubConnection};
use crate::steps::Step;

impl Driver {
    /// The delay before the try that follows one more failure.
    pub(super) fn backoff(progress: &StepProgress) -> Duration {
        backoff::delay(progress.failures.saturating_add(1), RETRY_BASE, RETRY_CAP, rand::random())
    }

    /// Waits before the next try. Publishes an event from the second failure in a row on: one throttled call does not concern the user.
    pub(super) async fn retry_later(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        progress: &mut StepProgress,
        code: ErrorCode,
        reason: String,
        wait: Duration,
    ) -> Result<NextAction, DbError> {
        progress.failures += 1;
        progress.unrecorded_failures += 1;
        self.metrics.step_retried(step.name());
        progress.unrecorded = Some((code, reason.clone()));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%code, reason, failures = progress.failures, wait_ms, "step failed, retrying later");
        let after = NextAction::Sleep(wait);
        progress.last_error = Some((code, reason.clone()));
        if progress.failures < 2 || deployment.waiting_for.as_deref() == Some(reason.as_str()) {
            return Ok(after);
        }
        let waiting = Event::new(EventCode::StepWaiting)
            .with("stage", step.stage())
            .with("reason", reason.as_str())
            .keyed(format_args!("{}:{code}", step.name()));
        let tries = progress.unrecorded_failures;
        let change = Change { waiting_for: Some(reason), events: vec![waiting], tries, ..progress.change() };
        let after = self.commit(deployment, change, after).await?;
        progress.recorded();
        Ok(after)
    }

    /// The reason why the step must not start again, after it crashed its process too often; `None` when it may start. Checked once per claim.
    /// The cancel step is exempt: giving up would leave resources running at AWS.
    pub(super) async fn crash_verdict(
        &self,
        deployment: &Deployment,
        step: &Step,
        progress: &mut StepProgress,
    ) -> Result<Option<String>, DbError> {
        let suspicious = deployment.claims_without_progress >= SUSPICIOUS_CLAIMS && step.cancelled().is_some();
        if !suspicious || progress.judged {
            return Ok(None);
        }
        let interruptions = self.db.interruptions(deployment).await?;
        progress.judged = true;
        Ok(interruptions.verdict(step.name()))
    }

    pub(super) async fn time_up(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        progress: &StepProgress,
        connections: &(GithubConnection, AwsConnection),
        user: &UserAws,
    ) -> Result<NextAction, DbError> {
        let settings = &self.services.settings;
        let timed_out = if progress.whole { ErrorCode::DeploymentTimedOut } else { step.timed_out() };
        let (code, last_seen) = match &progress.last_error {
            Some((code, reason)) => (*code, Some(reason.as_str())),
            None => (timed_out, deployment.waiting_for.as_deref()),
        };
        let last_seen = last_seen.map(|text| format!("; last seen: {text}")).unwrap_or_default();
        let besides = if progress.throttled.is_exhausted() {
            format!(" and another {} s in which AWS throttled it", MAX_THROTTLED.as_secs())
        } else {
            String::new()
        };
        let reason = if progress.whole {
            let limit = settings.deployment_limit.as_secs_f64();
            format!(
                "the deployment was not ready for its switch within {limit} s{besides}; it is at step {}{last_seen}",
                step.name()
            )
        } else {
            let limit = step.limit(settings).as_secs_f64();
            let cause = self.timeout_cause(deployment, step, connections, user).await;
            let cause = cause.map(|cause| format!("; {cause}")).unwrap_or_default();
            format!("step {} did not finish within {limit} s{besides}{last_seen}{cause}", step.name())
        };
        self.end_failed(deployment, code, &reason, progress.change()).await
    }
}
