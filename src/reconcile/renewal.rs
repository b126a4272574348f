//! The wait for the renewal of a connection whose credentials AWS refuses (decision 0060).
//!
//! # The crash argument
//! The fact `awaits_renewal` is committed with the event that reports the wait, and removed with the event that ends it. A replica that takes over in between
//! reads the connection with the row and runs the step again: with renewed credentials it continues, otherwise it waits without another event.
//! The time until then extends the limits: [`ExtraTime::of`](super::extra_time::ExtraTime::of) takes it from the row.
//!
//! A deployment that awaits its switch stays at rest: the watch (`background/watch`) requests a look when AWS refuses the credentials, and another one
//! when AWS accepts them again. That wait has no limit, so it extends none.

use std::time::Duration;

use tokio::time::Instant;

use super::driver::{Driver, NextAction};
use super::limits::{RENEWAL_POLL, RENEWAL_PROBE};
use super::step_progress::StepProgress;
use crate::db::DbError;
use crate::db::commit::Change;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::{AwsConnection, Deployment, Facts, GithubConnection};
use crate::steps::Step;

/// Reports that a deployment at `step` has no owner while it waits.
fn rests(step: &Step) -> bool {
    matches!(step, Step::AwaitSwitch(_))
}

impl Driver {
    /// Records that AWS refuses the connection's credentials, once for each wait. `took` is the duration of the refused run.
    pub(super) async fn await_renewal(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        progress: &mut StepProgress,
        reason: Reason,
        took: Duration,
    ) -> Result<NextAction, DbError> {
        Self::extend_for_renewal(step, progress, took);
        progress.last_error = Some((ErrorCode::ConnectionUnusable, reason.clone()));
        let connection = deployment.aws_connection_id.as_str();
        let waiting_for = Reason::from(message!("wait.renewal", connection, reason = &reason));
        let rests = rests(step);
        if !rests && deployment.awaits_renewal() && deployment.waits_for(&waiting_for) {
            return Ok(NextAction::AwaitRenewal);
        }
        let mut change = Change { waiting_for: Some(waiting_for), release: rests, ..progress.change() };
        if !deployment.awaits_renewal() {
            tracing::warn!(connection, %reason, "AWS refuses the connection's credentials, waiting for their renewal");
            change.facts = Facts { awaits_renewal: Some(true), ..Facts::default() };
            change.events = vec![Self::credentials(EventCode::CredentialsRejected, deployment, step).because(&reason)];
        }
        let after = if rests { NextAction::Done } else { NextAction::AwaitRenewal };
        let after = self.commit(deployment, change, after).await?;
        progress.recorded();
        Ok(after)
    }

    /// Records that the wait has ended, because AWS accepts the credentials again. Returns false when another replica owns the deployment.
    pub(super) async fn renewal_ended(
        &self,
        deployment: &mut Deployment,
        step: &Step,
        progress: &StepProgress,
    ) -> Result<bool, DbError> {
        if !deployment.awaits_renewal() {
            return Ok(true);
        }
        tracing::info!(connection = deployment.aws_connection_id, "AWS accepts the connection's credentials again");
        let events = vec![Self::credentials(EventCode::CredentialsAccepted, deployment, step)];
        let change = Change { events, facts: progress.renewal_facts(), ..Change::default() };
        Ok(!matches!(self.commit(deployment, change, NextAction::Continue).await?, NextAction::Done))
    }

    /// Waits until the connection has other credentials, which it returns, or it is time to try the old ones again: their owner may have made them valid
    /// again. Ends early at a request to cancel, and at a shutdown.
    pub(super) async fn renewal(
        &mut self,
        deployment: &Deployment,
        step: &Step,
        progress: &mut StepProgress,
        connections: &(GithubConnection, AwsConnection),
    ) -> Option<(GithubConnection, AwsConnection)> {
        // Other builds need the permit: a renewal may take hours.
        self.builds.release();
        let begun = Instant::now();
        let mut renewed = None;
        // A cancellation ends at its limit; other steps have as much time as is left to wait for a renewal.
        let longest = if step.cancelled().is_some() { RENEWAL_PROBE } else { progress.within(RENEWAL_PROBE) };
        while renewed.is_none() && begun.elapsed() < longest {
            let interrupted = tokio::select! {
                () = tokio::time::sleep(RENEWAL_POLL.min(longest)) => false,
                () = self.cancel_requested(Some(step)) => true,
                () = self.stop.cancelled() => true,
            };
            // Also before a cancellation, which otherwise calls AWS with the old credentials.
            renewed = match self.renewed(deployment, connections).await {
                Ok(renewed) => renewed,
                Err(error) => {
                    tracing::debug!(%error, "connections of the deployment not read, reading them again");
                    None
                }
            };
            if interrupted {
                break;
            }
        }
        Self::extend_for_renewal(step, progress, begun.elapsed());
        renewed
    }

    /// Extends the limits by a wait. A cancellation waits within its limit only: it ends with the names of the calls that were refused.
    fn extend_for_renewal(step: &Step, progress: &mut StepProgress, time: Duration) {
        if step.cancelled().is_some() && !rests(step) {
            progress.extend_for_renewal(time);
        }
    }

    fn credentials(code: EventCode, deployment: &Deployment, step: &Step) -> Event {
        // The version differs for each wait; the event is committed together with the fact, so a repeated step emits none.
        Event::new(code)
            .with("stage", step.stage())
            .with("connection_id", deployment.aws_connection_id.as_str())
            .keyed(deployment.version)
    }
}
