//! Runs a step once: commits the events it publishes meanwhile, and stops it at its time limit, on cancellation or at shutdown.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::limits::{CAUSE_LIMIT, DRAIN, MAX_THROTTLED, PROGRESS_BATCH, PROGRESS_CAPACITY};
use super::run_outcome::RunOutcome;
use super::step_progress::StepProgress;
use crate::clients::aws::{BudgetWaits, Priority, UserAws, with_priority};
use crate::db::DbError;
use crate::domain::mask::Mask;
use crate::domain::reason::Reason;
use crate::domain::{AwsConnection, Deployment, GithubConnection};
use crate::steps::{Reporter, ResourceClass, Step, StepContext};

impl Driver {
    /// Runs `step` once. Dropping this future stops the step. `waits` counts the time for which its calls wait for an account's budget, which is not part
    /// of its time limit.
    pub(super) async fn run(
        &self,
        deployment: &mut Arc<Deployment>,
        step: &Step,
        progress: &StepProgress,
        connections: &(GithubConnection, AwsConnection),
        user: &UserAws,
        waits: &BudgetWaits,
    ) -> Result<RunOutcome, DbError> {
        let (deadline, expects_news) = (progress.run_deadline(step), progress.pacing.expects_news());
        // Cancelled when this future ends or is dropped, for work that runs on separate threads.
        let stopped = CancellationToken::new();
        let _guard = stopped.clone().drop_guard();
        let (reporter, mut events) = Reporter::new(PROGRESS_CAPACITY);
        // The step sees the row as of its start; commits in the middle change the version in the driver's copy.
        let seen = Arc::clone(deployment);
        let (github, aws) = connections;
        // Built on first use: most polls of an execution publish nothing.
        let mask = OnceLock::new();
        let mask = || mask.get_or_init(|| Mask::of(aws.credentials.secrets().into_iter().chain(&github.secrets())));
        let context = StepContext {
            deployment: &seen,
            github,
            aws,
            user,
            services: &self.services,
            expects_news,
            reporter: &reporter,
            stopped: &stopped,
        };
        let running = with_priority(step.priority(), waits.clone(), step.run(&context));
        tokio::pin!(running);
        let mut batch = Vec::new();
        let ended = loop {
            tokio::select! {
                biased;
                received = events.recv_many(&mut batch, PROGRESS_BATCH) => {
                    if received > 0 {
                        mask().events(&mut batch);
                        if !self.commit_progress(Arc::make_mut(deployment), std::mem::take(&mut batch)).await? {
                            return Ok(RunOutcome::OwnershipLost);
                        }
                    }
                }
                ended = &mut running => break ended,
                () = until(deadline, waits) => return Ok(RunOutcome::TimeUp),
                () = self.drained(step.resource_class()) => return Ok(RunOutcome::Stopped),
                () = self.cancel_requested(Some(step)) => return Ok(RunOutcome::CancelRequested),
            }
        };
        // Events that were published last and not yet received precede the outcome's own events.
        while let Ok(event) = events.try_recv() {
            batch.push(event);
        }
        if !batch.is_empty() {
            mask().events(&mut batch);
            if !self.commit_progress(Arc::make_mut(deployment), batch).await? {
                return Ok(RunOutcome::OwnershipLost);
            }
        }
        Ok(match ended {
            Ok(outcome) if outcome.is_quiet(&seen) => RunOutcome::Outcome(Box::new(outcome)),
            Ok(outcome) => RunOutcome::Outcome(Box::new(outcome.masked(mask()))),
            Err(error) => RunOutcome::Error(error.masked(mask())),
        })
    }

    /// Asks a step for the cause of its timeout; `None` when it finds none in time, or the process stops.
    pub(super) async fn timeout_cause(
        &self,
        deployment: &Deployment,
        step: &Step,
        (github, aws): &(GithubConnection, AwsConnection),
        user: &UserAws,
    ) -> Option<Reason> {
        let (reporter, _events) = Reporter::new(1);
        let stopped = CancellationToken::new();
        let services = &*self.services;
        let (reporter, stopped, expects_news) = (&reporter, &stopped, false);
        let context = StepContext { deployment, github, aws, user, services, expects_news, reporter, stopped };
        let asked = with_priority(Priority::Urgent, BudgetWaits::default(), step.timeout_cause(&context));
        let mut cause = tokio::select! {
            found = tokio::time::timeout(CAUSE_LIMIT, asked) => found.ok().flatten()?,
            () = self.drained(step.resource_class()) => return None,
        };
        let mask = Mask::of(aws.credentials.secrets().into_iter().chain(&github.secrets()));
        mask.reason(&mut cause);
        Some(cause)
    }

    /// Completes when a step of this class must stop for the shutdown: light ones after `DRAIN`, heavy ones after the time that the operator grants.
    async fn drained(&self, class: ResourceClass) {
        self.stop.cancelled().await;
        tokio::time::sleep(if class == ResourceClass::Light { DRAIN } else { self.options.build_drain }).await;
    }
}

/// Completes at the deadline, later by the time for which calls waited for a budget.
async fn until(deadline: Option<Instant>, waits: &BudgetWaits) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    let mut ends = deadline;
    loop {
        tokio::time::sleep_until(ends).await;
        let extended = deadline.checked_add(waits.total().min(MAX_THROTTLED)).unwrap_or(deadline);
        if extended <= Instant::now() {
            return;
        }
        ends = extended;
    }
}
