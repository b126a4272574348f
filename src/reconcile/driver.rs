//! Drives one deployment: runs its step, commits the outcome and continues, until the deployment is finished, awaits approval, or belongs to
//! another replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::extra_time::ExtraTime;
use super::limits::{LOCK_RETRY, MAX_REFUSALS};
use super::notifier::Notifier;
use super::options::ReconcilerOptions;
use super::permit::Permit;
use super::run_outcome::RunOutcome;
use super::step_progress::StepProgress;
use crate::clients::aws::{BudgetWaits, UserAws};
use crate::db::commit::{Change, Committed};
use crate::db::{Db, DbError};
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::interruptions::Interruption;
use crate::domain::message::message;
use crate::domain::{Deployment, Facts, Status};
use crate::failpoints;
use crate::metrics::ReconcileMetrics;
use crate::steps::{Pace, Services, Step, StepOutcome, Transition};
use crate::telemetry::traces;

/// The task of one deployment that `replica` owns.
pub(super) struct Driver {
    pub(super) db: Db,
    pub(super) services: Arc<Services>,
    pub(super) notifier: Notifier,
    pub(super) metrics: ReconcileMetrics,
    pub(super) replica: Uuid,
    pub(super) options: Arc<ReconcilerOptions>,
    pub(super) builds: Permit,
    /// Cancelled when the lease is lost: the driver must not act any more.
    pub(super) lost: CancellationToken,
    /// Cancelled at shutdown: short steps may still end.
    pub(super) stop: CancellationToken,
    /// Cancelled when the worker has seen a request to cancel this deployment.
    pub(super) cancel_requested: CancellationToken,
    /// Notified when there may be news for a poll that waits.
    pub(super) woken: Arc<Notify>,
    /// The connections, if they were read together with the row; otherwise the driver reads them itself.
    pub(super) connections: Option<(GithubConnection, AwsConnection)>,
}

/// The driver's next action after an iteration.
pub(super) enum NextAction {
    /// Start the next iteration immediately.
    Continue,
    /// Start the next iteration after this time.
    Sleep(Duration),
    /// Start the next iteration when the connection has been renewed, or when it is time to try its refused credentials again.
    AwaitRenewal,
    /// Start the next iteration with credentials that were renewed meanwhile.
    Renewed(Box<(GithubConnection, AwsConnection)>),
    /// Stop driving: the deployment is finished, released, or owned by another replica.
    Done,
}

/// The last iteration, in this process.
struct LastRun {
    step: Step,
    /// Version of the row from which the step was read.
    version: i64,
    progress: StepProgress,
}

/// Returns the row's step, its progress if the last iteration ran the same step, and the time by which the limits are extended. A poll that found
/// nothing changed no row, so that its step need not be read again.
fn last_or_read(
    last: Option<LastRun>,
    deployment: &Deployment,
) -> Result<(Step, Option<StepProgress>, ExtraTime), String> {
    let extra = last.as_ref().map_or_else(|| ExtraTime::of(deployment), |last| last.progress.extra);
    match last {
        Some(last) if last.version == deployment.version => Ok((last.step, Some(last.progress), extra)),
        last => {
            let step = Step::parse(&deployment.step, &deployment.step_state)?;
            // A new state of the same step keeps the step's deadline.
            let progress = last.filter(|last| last.step.name() == step.name()).map(|last| last.progress);
            Ok((step, progress, extra))
        }
    }
}

impl Driver {
    /// Drives until there is nothing left to do here, or the lease is lost.
    ///
    /// Driver and row are pointers, because each level of this future holds them: inline, a waiting deployment took 13 KB.
    pub(super) async fn drive(mut self: Box<Self>, deployment: Arc<Deployment>) {
        // Recorded with Display: a log filter that names a deployment needs no quotes.
        let (id, attempt, replica) = (&deployment.id, deployment.attempt, self.options.name.as_str());
        let span = tracing::info_span!("deployment", deployment = %id, attempt, replica);
        traces::set_parent(&span, &deployment);
        let (lost, metrics) = (self.lost.clone(), self.metrics.clone());
        let driven = async move {
            tokio::select! {
                () = self.iterate(deployment) => {}
                // Without a lease no work may continue: the future is dropped wherever it stands.
                () = lost.cancelled() => {
                    metrics.ownership_lost();
                    metrics.interrupted(Interruption::LeaseLost);
                    tracing::warn!("lease lost, dropping the deployment");
                }
            }
        };
        driven.instrument(span).await;
    }

    /// Runs iterations until one returns [`NextAction::Done`]. The futures of an iteration are boxed: thousands of deployments sleep between two
    /// iterations, and each would otherwise hold the memory of the largest future.
    async fn iterate(&mut self, mut deployment: Arc<Deployment>) {
        let Some(mut connections) = Box::pin(self.connections(Arc::make_mut(&mut deployment))).await else { return };
        let mut user = self.user(&deployment, &connections.1);
        let mut last = None;
        let attempt_ends = self.attempt_ends(&deployment);
        // Statements in a row that the database refused: it would refuse the same statement again.
        let mut refusals = 0;
        // Iterations in a row whose outcome could not be committed: the step starts from its beginning each time and repeats its external calls.
        let mut failures = 0;
        loop {
            let version = deployment.version;
            let (step, progress, extra) = match last_or_read(last.take(), &deployment) {
                Ok(found) => found,
                Err(reason) => {
                    if Box::pin(self.fail(Arc::make_mut(&mut deployment), ErrorCode::Internal, reason.clone())).await {
                        return;
                    }
                    match Box::pin(self.reload(&deployment.id, &DbError::Corrupt(reason), 1)).await {
                        Some(row) => deployment = Arc::new(row),
                        None => return,
                    }
                    continue;
                }
            };
            let mut progress = progress.unwrap_or_else(|| {
                tracing::info!(step = step.name(), "step begins");
                StepProgress::of(&deployment, &step, &self.services, attempt_ends, extra)
            });
            let span = progress.span.clone();
            let iteration = Box::pin(self.iteration(&mut deployment, &step, &mut progress, &connections, &user));
            let iteration = iteration.instrument(span.clone());
            let result = failpoints::within(step.name(), iteration).await;
            // A rollback at AWS waits while the deployment is COMPLETED.
            let rests = deployment.status.is_finished() && matches!(result, Ok(NextAction::Done));
            if deployment.step != step.name() || rests {
                self.metrics.step_ended(step.name(), progress.begun.elapsed());
            }
            failures = if result.is_err() { failures + 1 } else { 0 };
            match result {
                Ok(NextAction::Continue) => {}
                Ok(NextAction::Renewed(renewed)) => {
                    (user, connections) = (self.user(&deployment, &renewed.1), *renewed);
                }
                Ok(NextAction::AwaitRenewal) => {
                    let waiting = Box::pin(self.renewal(&deployment, &step, &mut progress, &connections));
                    if let Some(renewed) = waiting.instrument(span).await {
                        (user, connections) = (self.user(&deployment, &renewed.1), renewed);
                    }
                }
                Ok(NextAction::Sleep(duration)) => {
                    if !self.sleep(duration, &step, &mut progress).await {
                        return Box::pin(self.release(&deployment)).await;
                    }
                }
                Ok(NextAction::Done) => return,
                Err(error) => {
                    if error.is_unavailable() {
                        refusals = 0;
                    } else {
                        refusals += 1;
                        self.metrics.statement_refused();
                    }
                    let read = Box::pin(self.reload(&deployment.id, &error, failures));
                    match read.instrument(span.clone()).await {
                        Some(row) => deployment = Arc::new(row),
                        None => return,
                    }
                    let reason = format!("{error} ({refusals} times in a row)");
                    let failed = Box::pin(self.fail(Arc::make_mut(&mut deployment), ErrorCode::Internal, reason));
                    if refusals >= MAX_REFUSALS && failed.instrument(span).await {
                        return;
                    }
                }
            }
            last = Some(LastRun { step, version, progress });
        }
    }

    fn user(&self, deployment: &Deployment, aws: &AwsConnection) -> UserAws {
        self.services.aws.user_of(aws, &deployment.region)
    }

    /// The time by which the attempt must be ready for its switch.
    fn attempt_ends(&self, deployment: &Deployment) -> Option<Instant> {
        Instant::now().checked_add(self.services.settings.deployment_limit.saturating_sub(deployment.attempt_elapsed))
    }

    /// Runs the step once, unless something prevents it: a shutdown, a request to cancel, repeated crashes, the time limit, a missing permit or lock.
    async fn iteration(
        &mut self,
        row: &mut Arc<Deployment>,
        step: &Step,
        progress: &mut StepProgress,
        connections: &(GithubConnection, AwsConnection),
        user: &UserAws,
    ) -> Result<NextAction, DbError> {
        let deployment = Arc::make_mut(row);
        if self.stop.is_cancelled() {
            self.release(deployment).await;
            return Ok(NextAction::Done);
        }
        if let Some(cancel) = self.cancel_step(deployment, step) {
            tracing::info!("cancellation requested, leaving the step");
            let facts = if deployment.awaits_renewal() { progress.renewal_facts() } else { Facts::default() };
            let next = Change { step: Some((cancel.name().to_owned(), cancel.state())), facts, ..progress.change() };
            return self.commit(deployment, next, NextAction::Continue).await;
        }
        if let Some(reason) = self.crash_verdict(deployment, step, progress).await? {
            return self.end_failed(deployment, ErrorCode::StepCrashed, &reason.into(), progress.change()).await;
        }
        if progress.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return self.time_up(deployment, step, progress, connections, user).await;
        }
        if !self.builds.acquire(step.resource_class()) {
            tracing::debug!("no build permit free, releasing the deployment for another replica");
            self.release(deployment).await;
            return Ok(NextAction::Done);
        }
        // Held until the step ends; it expires after a crash.
        let lock = match step.lock() {
            None => None,
            Some(name) => match self.db.try_lock(name, self.options.lease).await? {
                Some(lock) => Some(lock),
                None => return Ok(NextAction::Sleep(LOCK_RETRY)),
            },
        };
        let lock_lost = async {
            match &lock {
                Some(lock) => lock.lost().await,
                None => std::future::pending().await,
            }
        };
        let (begun, waits) = (Instant::now(), BudgetWaits::default());
        let ran = tokio::select! {
            ran = self.run(row, step, progress, connections, user, &waits) => ran?,
            () = lock_lost => return Ok(NextAction::Sleep(LOCK_RETRY)),
        };
        let deployment = Arc::make_mut(row);
        let waited = waits.total();
        progress.extend(waited);
        let accepted = matches!(&ran, RunOutcome::Outcome(outcome) if outcome.credentials_accepted);
        if accepted && !self.renewal_ended(deployment, step, progress).await? {
            return Ok(NextAction::Done);
        }
        match ran {
            RunOutcome::Outcome(outcome) => self.apply_outcome(deployment, step, *outcome, progress).await,
            RunOutcome::Error(error) => {
                let spent = begun.elapsed().saturating_sub(waited);
                self.step_failed(deployment, step, progress, connections, error, spent).await
            }
            RunOutcome::TimeUp => self.time_up(deployment, step, progress, connections, user).await,
            RunOutcome::OwnershipLost => Ok(self.lost_to_another_replica()),
            // The next iteration handles the request.
            RunOutcome::CancelRequested => Ok(NextAction::Continue),
            RunOutcome::Stopped => {
                self.release(deployment).await;
                Ok(NextAction::Done)
            }
        }
    }

    /// The cancel step, if cancellation is requested, that step does not run already, and the request did not come too late.
    fn cancel_step(&self, deployment: &Deployment, step: &Step) -> Option<Step> {
        let requested = deployment.cancel_requested || self.cancel_requested.is_cancelled();
        let cancel = (requested && deployment.status != Status::Completed).then(|| step.cancelled()).flatten()?;
        Some(if deployment.awaits_renewal() { cancel.without_credentials() } else { cancel })
    }

    /// Commits the outcome of the step that `ran`, and returns the next action.
    pub(super) async fn apply_outcome(
        &self,
        deployment: &mut Deployment,
        ran: &Step,
        outcome: StepOutcome,
        progress: &mut StepProgress,
    ) -> Result<NextAction, DbError> {
        (progress.failures, progress.last_error) = (0, None);
        let mut change =
            Change { facts: outcome.facts, events: outcome.events, history: outcome.history, ..progress.change() };
        let after = match outcome.transition {
            Transition::Next(step) => {
                change.step = Some((step.name().to_owned(), step.state()));
                NextAction::Continue
            }
            Transition::RunAgain(step) => {
                change.status = Some(Status::Running);
                change.step = Some((step.name().to_owned(), step.state()));
                NextAction::Continue
            }
            Transition::Wait { step, after, pace, waiting_for: why } => {
                let changed = !change.events.is_empty()
                    || change.facts != Facts::default()
                    || step != *ran
                    || !deployment.waits_for(&why);
                let after = match pace {
                    Pace::Fixed => after,
                    Pace::Adaptive => progress.pacing.wait(after, changed, Instant::now(), rand::random()),
                };
                if !changed {
                    // A poll that observed nothing new writes nothing: most polls of most deployments are of this kind.
                    return Ok(NextAction::Sleep(progress.within(after)));
                }
                change.step_state = Some(step.state());
                change.waiting_for = Some(why);
                NextAction::Sleep(progress.within(after))
            }
            Transition::Ready(step) => {
                // A deployment that still awaits renewed credentials keeps that reason.
                change.waiting_for = match &deployment.waiting_for {
                    Some(reason) if deployment.awaits_renewal() => Some(reason.clone()),
                    _ => Some(message!("wait.approval").into()),
                };
                Self::rest(&mut change, deployment, Status::DeploymentReady, Some(step));
                NextAction::Done
            }
            Transition::Completed(watch) => {
                change.watched = Some(watch.is_some());
                Self::rest(&mut change, deployment, Status::Completed, watch);
                NextAction::Done
            }
            Transition::Failed { code, reason } => return self.end_failed(deployment, code, &reason, change).await,
        };
        let after = self.commit(deployment, change, after).await?;
        progress.recorded();
        Ok(after)
    }

    /// Commits `change`, fenced by owner and version. If no row matched, another replica owns the deployment and `after` does not happen.
    pub(super) async fn commit(
        &self,
        deployment: &mut Deployment,
        change: Change,
        after: NextAction,
    ) -> Result<NextAction, DbError> {
        let status = change.status;
        let error = change.error.as_ref().map(|(code, _)| code.clone());
        let point = if status.is_some() || change.step.is_some() { "commit" } else { "progress" };
        // Boxed here and below: most polls commit nothing, and would otherwise reserve the size of these futures.
        let committed = Box::pin(failpoints::around(point, self.db.commit(deployment, self.replica, change)));
        match committed.await? {
            Committed::OwnershipLost => Ok(self.lost_to_another_replica()),
            Committed::Done { new_events } => {
                if new_events > 0 || status.is_some() {
                    self.notifier.events(&deployment.id);
                }
                if let Some(status) = status {
                    self.metrics.reached(status, error.as_deref());
                    tracing::info!(%status, "deployment status changed");
                    if status.is_finished() {
                        traces::export_attempt(deployment, error.as_deref());
                        Box::pin(super::queue::dequeue(&self.db)).await;
                    }
                }
                Ok(after)
            }
        }
    }

    /// Commits events in the middle of a step. Returns false when another replica owns the deployment.
    pub(super) async fn commit_progress(
        &self,
        deployment: &mut Deployment,
        events: Vec<Event>,
    ) -> Result<bool, DbError> {
        let change = Change { events, ..Change::default() };
        Ok(!matches!(self.commit(deployment, change, NextAction::Continue).await?, NextAction::Done))
    }

    /// Stops driving, because another replica owns the deployment: this one must neither write nor retry.
    fn lost_to_another_replica(&self) -> NextAction {
        self.metrics.ownership_lost();
        tracing::warn!("deployment owned by another replica, dropping it");
        NextAction::Done
    }
}
