//! Drives one deployment: runs its step, commits the outcome, goes on, until it is finished, a person's turn, or another's.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::limits::{LOCK_RETRY, MAX_REFUSALS, RETRY_BASE, RETRY_CAP, SUSPICIOUS_CLAIMS};
use super::memory::Memory;
use super::notifier::Notifier;
use super::permit::Permit;
use super::run::Ran;
use super::worker::ReconcilerOptions;
use crate::clients::aws::UserAws;
use crate::db::commit::{Change, Committed};
use crate::db::{Db, DbError};
use crate::domain::backoff;
use crate::domain::catalogue::{EventCode, Lang};
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::interruptions::Interruption;
use crate::domain::{Deployment, Status};
use crate::failpoints;
use crate::metrics::ReconcileMetrics;
use crate::steps::{Outcome, Services, Step, StepError, Then, remove_workspace};
use crate::telemetry::traces;

/// Drives one deployment that `replica` owns.
pub(super) struct Driver {
    pub(super) db: Db,
    pub(super) services: Arc<Services>,
    pub(super) notifier: Notifier,
    pub(super) metrics: ReconcileMetrics,
    pub(super) replica: Uuid,
    pub(super) options: Arc<ReconcilerOptions>,
    pub(super) builds: Permit,
    /// Cancelled when the lease is lost: nothing may be done any more.
    pub(super) lost: CancellationToken,
    /// Cancelled at shutdown: short steps may end.
    pub(super) stop: CancellationToken,
    /// Cancelled when a person's wish to cancel this deployment was seen.
    pub(super) unwanted: CancellationToken,
    /// As they were read together with the row; none when they have to be read yet.
    pub(super) connections: Option<(GithubConnection, AwsConnection)>,
}

/// What the driver does after a turn.
enum After {
    /// The next turn, at once.
    GoOn,
    /// The next turn, after a while.
    Sleep(Duration),
    /// The next turn, with credentials that were renewed meanwhile.
    Renewed(Box<(GithubConnection, AwsConnection)>),
    /// Done with this deployment: it is finished, given back, or another's.
    Done,
}

impl Driver {
    /// Drives until there is nothing to do here, or the lease is lost.
    pub(super) async fn drive(mut self, deployment: Deployment) {
        // As it is displayed: a filter that names a deployment needs no quotes.
        let (id, attempt, replica) = (&deployment.id, deployment.attempt, self.options.name.as_str());
        let span = tracing::info_span!("deployment", deployment = %id, attempt, replica);
        traces::belongs_to(&span, &deployment);
        let (lost, metrics) = (self.lost.clone(), self.metrics.clone());
        let driven = async move {
            tokio::select! {
                () = self.turns(deployment) => {}
                // Nothing may be done any more: whatever is under way is dropped where it stands.
                () = lost.cancelled() => {
                    metrics.lost();
                    metrics.interrupted(Interruption::LeaseLost);
                    tracing::warn!("lease lost, dropping the deployment");
                }
            }
        };
        driven.instrument(span).await;
    }

    /// What a turn needs is boxed: thousands sleep between two turns, and would each keep the room of the largest.
    async fn turns(&mut self, mut deployment: Deployment) {
        let Some(mut connections) = Box::pin(self.connections(&mut deployment)).await else { return };
        let mut user = self.user(&deployment, &connections.1);
        let mut known: Option<(Step, Memory)> = None;
        let attempt_ends = self.attempt_ends(&deployment);
        // Statements in a row that the database refused: it will refuse the same again.
        let mut refusals = 0;
        // Turns in a row whose end could not be committed: the step begins anew each time, and the outside is asked each time.
        let mut failures = 0;
        loop {
            let step = match Step::parse(&deployment.step, &deployment.step_state) {
                Ok(step) => step,
                Err(reason) => {
                    if Box::pin(self.fail(&mut deployment, ErrorCode::Internal, &reason)).await {
                        return;
                    }
                    match Box::pin(self.read_again(&deployment.id, &DbError::Corrupt(reason), 1)).await {
                        Some(row) => deployment = row,
                        None => return,
                    }
                    continue;
                }
            };
            let mut memory = match known.take() {
                // A new state of the same step keeps the step's clock.
                Some((before, memory)) if before.name() == step.name() => memory,
                _ => {
                    tracing::info!(step = step.name(), "step begins");
                    Memory::of(&deployment, &step, &self.services, attempt_ends)
                }
            };
            let span = memory.span.clone();
            let turn = Box::pin(self.turn(&mut deployment, &step, &mut memory, &connections, &user));
            let turn = turn.instrument(span.clone());
            let turn = failpoints::within(step.name(), turn).await;
            if deployment.step != step.name() || deployment.status.is_finished() {
                self.metrics.step_ended(step.name(), memory.begun.elapsed());
            }
            known = Some((step, memory));
            failures = if turn.is_err() { failures + 1 } else { 0 };
            match turn {
                Ok(After::GoOn) => {}
                Ok(After::Renewed(renewed)) => {
                    user = self.user(&deployment, &renewed.1);
                    connections = *renewed;
                }
                Ok(After::Sleep(duration)) => {
                    let due = Instant::now() + duration;
                    tokio::select! {
                    () = tokio::time::sleep_until(due) => self.metrics.looked(due.elapsed()),
                    () = self.unwanted(known.as_ref().map(|(step, _)| step)) => {}
                    () = self.stop.cancelled() => return Box::pin(self.give_back(&deployment)).await,
                    }
                }
                Ok(After::Done) => return,
                Err(error) => {
                    if error.is_unavailable() {
                        refusals = 0;
                    } else {
                        refusals += 1;
                        self.metrics.statement_refused();
                    }
                    let read = Box::pin(self.read_again(&deployment.id, &error, failures));
                    match read.instrument(span.clone()).await {
                        Some(row) => deployment = row,
                        None => return,
                    }
                    let reason = format!("{error} ({refusals} times in a row)");
                    let failed = Box::pin(self.fail(&mut deployment, ErrorCode::Internal, &reason)).instrument(span);
                    if refusals >= MAX_REFUSALS && failed.await {
                        return;
                    }
                }
            }
        }
    }

    fn user(&self, deployment: &Deployment, aws: &AwsConnection) -> UserAws {
        self.services.aws.user(&aws.id, &deployment.region, &aws.credentials)
    }

    /// When the attempt has to be ready for its switch.
    fn attempt_ends(&self, deployment: &Deployment) -> Option<Instant> {
        Instant::now().checked_add(self.services.settings.deployment_limit.saturating_sub(deployment.attempt_elapsed))
    }

    /// One run of the step, or what stands in its way.
    async fn turn(
        &mut self,
        deployment: &mut Deployment,
        step: &Step,
        memory: &mut Memory,
        connections: &(GithubConnection, AwsConnection),
        user: &UserAws,
    ) -> Result<After, DbError> {
        if self.stop.is_cancelled() {
            self.give_back(deployment).await;
            return Ok(After::Done);
        }
        if let Some(cancel) = self.wished_away(deployment, step) {
            tracing::info!("a person asked to cancel");
            let next = Change { step: Some((cancel.name().to_owned(), cancel.state())), ..memory.change() };
            return self.commit(deployment, next, After::GoOn).await;
        }
        if let Some(reason) = self.given_up(deployment, step, memory).await? {
            return self.end_failed(deployment, ErrorCode::StepCrashed, &reason, memory.change()).await;
        }
        if memory.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return self.time_up(deployment, step, memory).await;
        }
        if !self.builds.fit(step.lane()) {
            tracing::debug!("all build permits are taken: another replica may have one");
            self.give_back(deployment).await;
            return Ok(After::Done);
        }
        // Held until the step is over; it expires after a crash.
        let lock = match step.lock() {
            None => None,
            Some(name) => match self.db.try_lock(name, self.options.lease).await? {
                Some(lock) => Some(lock),
                None => return Ok(After::Sleep(LOCK_RETRY)),
            },
        };
        let lock_lost = async {
            match &lock {
                Some(lock) => lock.lost().await,
                None => std::future::pending().await,
            }
        };
        let ran = tokio::select! {
            ran = self.run(deployment, step, memory.deadline, connections, user) => ran?,
            () = lock_lost => return Ok(After::Sleep(LOCK_RETRY)),
        };
        match ran {
            Ran::Outcome(outcome) => self.take(deployment, *outcome, memory).await,
            Ran::Error(StepError::Fatal { code, reason }) => {
                // Credentials that were renewed are often taken back soon after: that must fail nothing that runs.
                if let Some(renewed) = self.renewed(deployment, connections).await? {
                    tracing::info!(%code, reason, "the step failed with credentials that were renewed meanwhile, trying the new ones");
                    return Ok(After::Renewed(Box::new(renewed)));
                }
                self.end_failed(deployment, code, &reason, memory.change()).await
            }
            Ran::Error(StepError::Retryable { code, reason }) => {
                self.retry_later(deployment, step, memory, code, reason).await
            }
            Ran::TimeUp => self.time_up(deployment, step, memory).await,
            Ran::OwnershipLost => Ok(self.lost_to_another()),
            // The next turn begins with the wish.
            Ran::Unwanted => Ok(After::GoOn),
            Ran::Stopped => {
                self.give_back(deployment).await;
                Ok(After::Done)
            }
        }
    }

    /// Why the step is not begun once more; none when it may be. Asked once for each claim. Cancelling is never given up for it: what it would
    /// leave behind keeps running at AWS.
    async fn given_up(
        &self,
        deployment: &Deployment,
        step: &Step,
        memory: &mut Memory,
    ) -> Result<Option<String>, DbError> {
        let suspicious = deployment.claims_without_progress >= SUSPICIOUS_CLAIMS && step.cancelled().is_some();
        if !suspicious || memory.judged {
            return Ok(None);
        }
        let interruptions = self.db.interruptions(deployment).await?;
        memory.judged = true;
        Ok(interruptions.verdict(step.name()))
    }

    /// The step that follows from a wish to cancel; none when there is no wish, or that step runs already.
    fn wished_away(&self, deployment: &Deployment, step: &Step) -> Option<Step> {
        (deployment.cancel_requested || self.unwanted.is_cancelled()).then(|| step.cancelled()).flatten()
    }

    /// Ends when a person wishes to cancel; never while the wish is being fulfilled.
    pub(super) async fn unwanted(&self, step: Option<&Step>) {
        if step.is_some_and(|step| step.cancelled().is_none()) {
            std::future::pending::<()>().await;
        }
        self.unwanted.cancelled().await;
    }

    /// Commits an outcome.
    async fn take(&self, deployment: &mut Deployment, outcome: Outcome, memory: &mut Memory) -> Result<After, DbError> {
        (memory.failures, memory.last_error) = (0, None);
        let mut change = Change { learned: outcome.learned, events: outcome.events, ..memory.change() };
        let after = match outcome.then {
            Then::Next(step) => {
                change.step = Some((step.name().to_owned(), step.state()));
                After::GoOn
            }
            Then::Wait { step, after, why } => {
                let state = step.state();
                let news = !change.events.is_empty()
                    || change.learned != crate::domain::Facts::default()
                    || state != deployment.step_state
                    || deployment.waiting_for.as_deref() != Some(why.as_str());
                if !news {
                    // A look that learned nothing writes nothing: most looks of most deployments are such.
                    return Ok(After::Sleep(memory.within(after)));
                }
                change.step_state = Some(state);
                change.waiting_for = Some(why);
                After::Sleep(memory.within(after))
            }
            Then::Ready(step) => {
                change.step = Some((step.name().to_owned(), step.state()));
                change.status = Some(Status::DeploymentReady);
                change.waiting_for = Some("a person's switch".to_owned());
                change.release = true;
                After::Done
            }
            Then::Completed => {
                change.status = Some(Status::Completed);
                change.release = true;
                After::Done
            }
            Then::Failed { code, reason } => return self.end_failed(deployment, code, &reason, change).await,
        };
        let after = self.commit(deployment, change, after).await?;
        memory.recorded();
        Ok(after)
    }

    /// Waits, and says so from the second failure in a row: one throttled call is nobody's news.
    async fn retry_later(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        memory: &mut Memory,
        code: ErrorCode,
        reason: String,
    ) -> Result<After, DbError> {
        memory.failures += 1;
        memory.unrecorded_failures += 1;
        self.metrics.step_retried(step.name());
        memory.unrecorded = Some((code, reason.clone()));
        let wait = memory.within(backoff::delay(memory.failures, RETRY_BASE, RETRY_CAP, rand::random()));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%code, reason, failures = memory.failures, wait_ms, "the step could not do its work");
        let after = After::Sleep(wait);
        memory.last_error = Some((code, reason.clone()));
        if memory.failures < 2 || deployment.waiting_for.as_deref() == Some(reason.as_str()) {
            return Ok(after);
        }
        let told = Event::new(EventCode::StepWaiting)
            .with("stage", step.stage())
            .with("reason", reason.as_str())
            .keyed(format_args!("{}:{code}", step.name()));
        let tries = memory.unrecorded_failures;
        let change = Change { waiting_for: Some(reason), events: vec![told], tries, ..memory.change() };
        let after = self.commit(deployment, change, after).await?;
        memory.recorded();
        Ok(after)
    }

    async fn time_up(&self, deployment: &mut Deployment, step: &Step, memory: &Memory) -> Result<After, DbError> {
        let settings = &self.services.settings;
        let timed_out = if memory.whole { ErrorCode::DeploymentTimedOut } else { step.timed_out() };
        let (code, said) = match &memory.last_error {
            Some((code, reason)) => (*code, Some(reason.as_str())),
            None => (timed_out, deployment.waiting_for.as_deref()),
        };
        let said = said.map(|said| format!("; last seen: {said}")).unwrap_or_default();
        let reason = if memory.whole {
            let limit = settings.deployment_limit.as_secs_f64();
            format!("it was not ready for the switch within {limit} s, and is at step {}{said}", step.name())
        } else {
            format!("step {} was not done within {} s{said}", step.name(), step.limit(settings).as_secs_f64())
        };
        self.end_failed(deployment, code, &reason, memory.change()).await
    }

    async fn end_failed(
        &self,
        deployment: &mut Deployment,
        code: ErrorCode,
        reason: &str,
        mut change: Change,
    ) -> Result<After, DbError> {
        let event = Event::failed(code, reason);
        tracing::warn!(%code, reason, step = deployment.step, "the deployment failed");
        traces::failed(code.as_str(), reason);
        change.status = Some(Status::Failed);
        change.error = Some((code.as_str().to_owned(), event.render(Lang::Ko).message));
        change.trouble = Some((code.as_str().to_owned(), reason.to_owned()));
        change.events.push(event);
        change.release = true;
        let after = self.commit(deployment, change, After::Done).await?;
        if let Err(error) = remove_workspace(&self.services.settings.workspace_dir, &deployment.id).await {
            tracing::warn!(%error, "the workspace could not be removed; housekeeping will try again");
        }
        Ok(after)
    }

    /// Like [`Self::end_failed`], outside a turn. False when it could not be recorded.
    pub(super) async fn fail(&self, deployment: &mut Deployment, code: ErrorCode, reason: &str) -> bool {
        match self.end_failed(deployment, code, reason, Change::default()).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "the failure could not be recorded");
                false
            }
        }
    }

    /// The fenced commit. No row matched: the deployment is another's, and `after` does not happen.
    async fn commit(&self, deployment: &mut Deployment, change: Change, after: After) -> Result<After, DbError> {
        let status = change.status;
        let error = change.error.as_ref().map(|(code, _)| code.clone());
        let point = if status.is_some() || change.step.is_some() { "commit" } else { "progress" };
        match failpoints::around(point, self.db.commit(deployment, self.replica, change)).await? {
            Committed::OwnershipLost => Ok(self.lost_to_another()),
            Committed::Done { new_events } => {
                if new_events > 0 || status.is_some() {
                    self.notifier.events(&deployment.id);
                }
                if let Some(status) = status {
                    self.metrics.reached(status, error.as_deref());
                    tracing::info!(%status, "the deployment's status changed");
                    if status.is_finished() {
                        traces::ended(deployment, error.as_deref());
                        super::turns::give(&self.db).await;
                    }
                }
                Ok(after)
            }
        }
    }

    /// Commits events in the middle of a step. False when the deployment is another's.
    pub(super) async fn commit_progress(
        &self,
        deployment: &mut Deployment,
        events: Vec<Event>,
    ) -> Result<bool, DbError> {
        let change = Change { events, ..Change::default() };
        Ok(!matches!(self.commit(deployment, change, After::GoOn).await?, After::Done))
    }

    /// Another replica is at work on it: nothing may be written, nothing tried again.
    fn lost_to_another(&self) -> After {
        self.metrics.lost();
        tracing::warn!("the deployment is another replica's by now: forgotten here");
        After::Done
    }
}
