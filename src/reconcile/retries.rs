//! Retries of a step that failed temporarily, and its end: at the time limit, and after repeated crashes.
//!
//! Time in which a service throttles Panda does not count against the limits (decision 0056): [`StepProgress::extend`] extends them.

use std::time::Duration;

use tokio::time::Instant;

use super::driver::{Driver, NextAction};
use super::limits::{RETRY_BASE, RETRY_CAP, SUSPICIOUS_CLAIMS};
use super::step_progress::StepProgress;
use crate::clients::aws::UserAws;
use crate::db::DbError;
use crate::db::commit::Change;
use crate::domain::backoff;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, Param, message};
use crate::domain::reason::Reason;
use crate::domain::{AwsConnection, Deployment, GithubConnection};
use crate::steps::{Step, StepError};

impl Driver {
    /// The delay before the try that follows one more failure.
    pub(super) fn backoff(progress: &StepProgress) -> Duration {
        backoff::delay(progress.failures.saturating_add(1), RETRY_BASE, RETRY_CAP, rand::random())
    }

    /// Decides what follows a run that failed with `error` after the time `took`.
    pub(super) async fn step_failed(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        progress: &mut StepProgress,
        connections: &(GithubConnection, AwsConnection),
        error: StepError,
        took: Duration,
    ) -> Result<NextAction, DbError> {
        match error {
            StepError::Fatal { code, reason } => {
                // Owners often revoke old credentials soon after they renewed them: that must not fail a running deployment.
                if let Some(renewed) = self.renewed(deployment, connections).await? {
                    tracing::info!(%code, %reason, "step failed with credentials that were renewed meanwhile, retrying with the new ones");
                    return Ok(NextAction::Renewed(Box::new(renewed)));
                }
                self.end_failed(deployment, code, &reason, progress.change()).await
            }
            StepError::Credentials { reason, .. } => match self.renewed(deployment, connections).await? {
                Some(renewed) => Ok(NextAction::Renewed(Box::new(renewed))),
                None => self.await_renewal(deployment, step, progress, reason, took).await,
            },
            StepError::Retryable { code, reason } => {
                let wait = progress.within(Self::backoff(progress));
                self.retry_later(deployment, step, progress, code, reason, wait).await
            }
            StepError::Throttled { code, reason } => {
                let wait = Self::backoff(progress);
                progress.extend(took.saturating_add(wait));
                let wait = progress.within(wait);
                self.retry_later(deployment, step, progress, code, reason, wait).await
            }
        }
    }

    /// Waits before the next try. Publishes an event from the second failure in a row on: one throttled call does not concern the user.
    pub(super) async fn retry_later(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        progress: &mut StepProgress,
        code: ErrorCode,
        reason: Reason,
        wait: Duration,
    ) -> Result<NextAction, DbError> {
        progress.failures += 1;
        progress.unrecorded_failures += 1;
        self.metrics.step_retried(step.name());
        progress.unrecorded = Some((code, reason.to_string()));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%code, %reason, failures = progress.failures, wait_ms, "step failed, retrying later");
        let after = NextAction::Sleep(wait);
        progress.last_error = Some((code, reason.clone()));
        if progress.failures < 2 || deployment.waits_for(&reason) {
            return Ok(after);
        }
        let waiting = Event::new(EventCode::StepWaiting)
            .with("stage", step.stage())
            .because(&reason)
            .keyed(format_args!("{}:{code}", step.name()));
        let tries = progress.unrecorded_failures;
        let change = Change { waiting_for: Some(reason), events: vec![waiting], tries, ..progress.change() };
        let after = self.commit(deployment, change, after).await?;
        progress.recorded();
        Ok(after)
    }

    /// The reason why the step must not start again, after it crashed its process too often; `None` when it may start. Checked once per claim.
    /// The steps cancel and rollback are exempt: giving up would leave resources running at AWS, or the traffic on green.
    pub(super) async fn crash_verdict(
        &self,
        deployment: &Deployment,
        step: &Step,
        progress: &mut StepProgress,
    ) -> Result<Option<Message>, DbError> {
        let suspicious = deployment.claims_without_progress >= SUSPICIOUS_CLAIMS && !step.is_ending();
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
        progress: &mut StepProgress,
        connections: &(GithubConnection, AwsConnection),
        user: &UserAws,
    ) -> Result<NextAction, DbError> {
        let last_error = progress.last_error.as_ref().map(|(code, _)| *code);
        if !progress.whole
            && let Some(mut outcome) = step.after_limit(last_error)
        {
            if deployment.awaits_renewal() {
                outcome = outcome.with_facts(progress.renewal_facts());
            }
            // Another step has its own limit; the same one begins it again.
            progress.deadline = Instant::now().checked_add(step.limit(&self.services.settings));
            return self.apply_outcome(deployment, step, outcome, progress).await;
        }
        let settings = &self.services.settings;
        let timed_out = if progress.whole { ErrorCode::DeploymentTimedOut } else { step.timed_out() };
        let (code, last_seen) = match &progress.last_error {
            Some((code, reason)) => (*code, Some(Param::from(reason))),
            None => (timed_out, deployment.waiting_for.as_ref().map(Param::from)),
        };
        let or_nothing = |part: Option<Message>| part.map_or_else(|| Param::from(""), Param::from);
        let last_seen = or_nothing(last_seen.map(|text| message!("reason.last_seen", text)));
        let (step_name, besides) = (step.name(), progress.extra.exhausted());
        let reason = if progress.whole {
            let limit = settings.deployment_limit.as_secs_f64();
            message!("reason.deployment_time_limit", limit, besides, step = step_name, last_seen)
        } else {
            let limit = step.limit(settings).as_secs_f64();
            let cause = self.timeout_cause(deployment, step, connections, user).await;
            let cause = or_nothing(cause.map(|cause| message!("reason.and_cause", cause)));
            message!("reason.step_time_limit", step = step_name, limit, besides, last_seen, cause)
        };
        self.end_failed(deployment, code, &reason.into(), progress.change()).await
    }
}
