//! Cancels a deployment on request: stops everything that it started in AWS, then sets it to FAILED with CANCELLED.
//!
//! The interrupted step is dropped before this one begins, so no other step of the deployment is running. Effects that the step may have caused are
//! looked up in AWS instead of remembered: an execution that its push started, a rollout that the execution created. Whatever fails
//! here, the deployment ends with CANCELLED, and the reason names what could not be stopped. A refused call does not prevent the calls after it:
//! stopping the rollout needs neither the execution nor a look at it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::follow_execution::accounts;
use super::rollout::{moving_back, stayed_on_blue, was_sent};
use super::watch_traffic::{LOOKS_AFTER_END, completed, rolled_back};
use super::{
    CheckGates, ConfirmSwitch, FindExecution, FindRollout, FollowExecution, PushImage, RunStep, StepContext, StepError,
    StepOutcome, Transition, find_rollout,
};
use crate::clients::aws::{ExecutionStatus, Observed, Priority};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::history::{Memory, RawEvent, Reader};
use crate::domain::message::{Message, Param, message};
use crate::domain::rollout::{RolloutId, Standing, Traffic};

/// Time between two polls for an execution that the push may have started.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of polls during which an execution may finish registering the rollout that it is creating.
const MAX_REGISTER_POLLS: u32 = 30;

/// Polling state of the execution while it creates the rollout.
const REGISTERING: &str = "REGISTER_TASK_IN_PROGRESS";

/// State of a cancellation.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Cancel {
    /// Stored name of the step that was interrupted.
    pub during: String,
    /// State of the interrupted step: a further attempt resumes from it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
    /// Stage of the interrupted step, as shown to users.
    pub stage: u8,
    /// Polls so far for effects that may still appear in AWS.
    pub looks: u32,
    /// Set once stopping the rollout was decided: from then on, traffic seen on green is being moved back.
    pub stopping: bool,
    /// Set when AWS is known to refuse the connection's credentials: what they cannot stop is named, and their renewal is not awaited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// Why a gate of the policy did not pass, in the form of [`Message::to_json`]: the rollout is stopped for it, not on request.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub gate: Value,
}

impl RunStep for Cancel {
    const NAME: &'static str = "cancel";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Urgent;
    const REPORTED: (&'static str, Option<&'static str>) = ("Cancel", None);
    const TIMED_OUT: ErrorCode = ErrorCode::Cancelled;

    /// The connection was not renewed in time: the deployment ends, and its reason names what may still be running.
    fn after_limit(&self, last_error: Option<ErrorCode>) -> Option<StepOutcome> {
        let unusable = last_error == Some(ErrorCode::ConnectionUnusable);
        (unusable && !self.refused).then(|| StepOutcome::next(Self { refused: true, ..self.clone() }))
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        if self.gate.is_null() {
            let begun = Event::new(EventCode::CancelStarted).with("stage", self.stage);
            cx.reporter.emit(begun).await;
        }
        let Some(arn) = &cx.deployment.facts.execution_arn else { return self.find_execution(cx).await };
        let executions = &cx.services.aws.controller().executions;
        let mut refused = self.refused_calls();
        let running = match executions.describe(arn).await {
            Ok(execution) => matches!(execution.status, ExecutionStatus::Running | ExecutionStatus::PendingRedrive),
            // Deleted together with its history: nothing of the execution is running.
            Err(error) if error.kind == ErrorKind::NotFound => return self.stop_rollout(cx, refused).await,
            Err(error) => {
                refused.note(error)?;
                // Unknown: stopping an execution that has ended changes nothing.
                true
            }
        };
        // Events since the last poll, in particular the rollout that must be stopped.
        let last = cx.deployment.facts.last_history_event_id.unwrap_or(0);
        let (history, readable) = match executions.history_after(arn, last).await {
            Ok(history) => (history.iter().map(RawEvent::event).collect(), true),
            Err(error) => (refused.note(error).map(|()| Vec::new())?, false),
        };
        let accounts = accounts(cx.deployment, arn);
        let reading = Reader { names: &cx.services.names, accounts: &accounts }.read(&history, last, self.memory());
        let mut known = cx.deployment.facts.clone();
        known.merge(reading.facts.clone());
        let registering = readable && known.polling_state.as_deref() == Some(REGISTERING);
        if running && registering && self.looks < MAX_REGISTER_POLLS {
            // Stopped now, the execution's current call would still create a rollout, whose id would remain unknown.
            let why = message!("wait.rollout_being_created");
            return Ok(self.poll_again(cx, why).with_facts(reading.facts));
        }
        if running && let Err(error) = executions.stop(arn, "cancelled on request").await {
            refused.note(error)?;
        }
        if known != cx.deployment.facts {
            // Committed first, so that a crash does not lose the id of the rollout to stop.
            return Ok(StepOutcome::wait(self.clone(), Duration::ZERO, message!("wait.execution_stopped"))
                .with_facts(reading.facts));
        }
        if let Some(found) = self.unreported(cx, &known, &mut refused).await? {
            let stopped = StepOutcome::wait(self.clone(), Duration::ZERO, message!("wait.rollout_to_stop"));
            return Ok(stopped.with_facts(found));
        }
        self.stop_rollout(cx, refused).await
    }
}

/// Calls that were refused for good, for the reason. Every run makes all calls again, so nothing of this is stored.
struct Refused {
    calls: Vec<String>,
    /// Set when refused credentials are noted as well, instead of awaiting their renewal.
    credentials: bool,
}

impl Refused {
    /// Notes a refused call.
    ///
    /// # Errors
    /// The step's error if the call may succeed later.
    fn note(&mut self, error: ClientError) -> Result<(), StepError> {
        let awaited = error.kind == ErrorKind::Credentials && !self.credentials;
        if awaited || matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) {
            return Err(failed(error));
        }
        self.calls.push(error.to_string());
        Ok(())
    }

    /// Adds the refused calls to the error that ends the step.
    fn with(&self, error: StepError) -> StepError {
        match error {
            StepError::Fatal { code, reason } => {
                StepError::fatal(code, message!("reason.with_refused_calls", reason, refused = self.sentence()))
            }
            other => other,
        }
    }

    /// Returns the end of the reason: what may still be running.
    fn sentence(&self) -> Param {
        if self.calls.is_empty() {
            Param::from("")
        } else {
            message!("reason.refused_calls", calls = self.calls.join("; ")).into()
        }
    }
}

impl Cancel {
    /// Cancels during the step `name` with its state.
    pub(super) fn of(name: &str, saved: Value, stage: u8) -> Self {
        let (during, gate) = (name.to_owned(), Value::Null);
        Self { during, state: saved, stage, looks: 0, stopping: false, refused: false, gate }
    }

    /// Stops the rollout because a gate did not pass, during the step `name` with its state. Its traffic returns to blue, wherever it is.
    pub(super) fn for_gate(name: &str, saved: Value, reason: &Message) -> Self {
        Self { stopping: true, gate: reason.to_json(), ..Self::of(name, saved, 4) }
    }

    fn refused_calls(&self) -> Refused {
        Refused { calls: Vec::new(), credentials: self.refused }
    }

    /// Returns what the interrupted step remembers of the history, so that a caught failure is not read as a result.
    fn memory(&self) -> Memory {
        serde_json::from_value::<FollowExecution>(self.state.clone()).map(|follow| follow.memory).unwrap_or_default()
    }

    /// Waits for an execution that the push may have started without having been observed yet, for as long as any execution may take to appear.
    async fn find_execution(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let may_have_pushed =
            [PushImage::NAME, FindExecution::NAME, FollowExecution::NAME].contains(&self.during.as_str());
        if !may_have_pushed {
            return Ok(self.done(cx, &self.refused_calls()));
        }
        let (repository, tag) = (&cx.deployment.ecr_repository, &cx.deployment.image_tag());
        let mut refused = self.refused_calls();
        let digest = match cx.user.ecr.find_image(repository, tag).await {
            // Unknown: the search reads with the controller's credentials, and the tag suffices.
            Err(error) if error.kind == ErrorKind::Credentials => {
                refused.note(error)?;
                cx.deployment.facts.image_digest.clone().or_else(|| Some(String::new()))
            }
            found => found.map_err(failed)?.map(|image| image.digest),
        };
        let Some(image_digest) = digest else { return Ok(self.done(cx, &refused)) };
        let search = FindExecution { image_tag: tag.clone(), image_digest, ..FindExecution::default() };
        match search.run(cx).await.map_err(as_cancelled)? {
            found @ StepOutcome { transition: Transition::Next(_), .. } => {
                let stop = StepOutcome::wait(self.clone(), Duration::ZERO, message!("wait.execution_stopping"));
                Ok(stop.with_facts(found.facts))
            }
            _ if poll_interval(cx) * self.looks >= cx.services.settings.execution_wait => Ok(self.done(cx, &refused)),
            _ => Ok(self.poll_again(cx, message!("wait.execution_may_start"))),
        }
    }

    /// Finds a rollout of ECS whose id the execution did not report, although it has created it.
    async fn unreported(
        &self,
        cx: &StepContext<'_>,
        known: &Facts,
        refused: &mut Refused,
    ) -> Result<Option<Facts>, StepError> {
        let state = known.polling_state.as_deref();
        let registered = known.is_beyond_infra() && state != Some(REGISTERING) || self.during == FindRollout::NAME;
        if known.rollout().is_some() || !registered || !FindRollout::is_possible(known) {
            return Ok(None);
        }
        match find_rollout::look(cx, known).await {
            Ok(Ok((arn, _))) => Ok(Some(Facts { service_deployment_arn: Some(arn), ..Facts::default() })),
            Ok(Err(_)) => Ok(None),
            Err(error) => refused.note(error).map(|()| None),
        }
    }

    /// Stops the rollout and sends its traffic back, and waits until it has ended: the stop is still pending when the call returns. A rollout that has not
    /// begun is stopped the same way.
    async fn stop_rollout(&self, cx: &StepContext<'_>, mut refused: Refused) -> Result<StepOutcome, StepError> {
        let Some(id) = cx.deployment.facts.rollout() else { return Ok(self.done(cx, &refused)) };
        let rollout = cx.user.rollout(&id);
        let seen = match rollout.observe().await {
            Ok(seen) => match seen.standing {
                Standing::Ended => return self.ended(cx, &seen, refused).await,
                // Too late: the traffic is on green, and blue may be gone already.
                Standing::Succeeded => return Ok(completed(Some(&seen))),
                _ => Some(seen),
            },
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(self.done(cx, &refused)),
            Err(error) => refused.note(error).map(|()| None)?,
        };
        let being_stopped = message!("wait.rollout_stopping", service = id.service());
        if !self.stopping {
            // While gates measure, all traffic may be on green, and is not accepted yet.
            if let Some(seen) = &seen
                && self.during != CheckGates::NAME
                && self.has_shifted(cx, &id, seen, &mut refused).await?
            {
                return Ok(completed(Some(seen)));
            }
            // Committed before the call: after a crash, traffic seen on green is then known to be moving back.
            let stopping = Self { stopping: true, looks: 0, ..self.clone() };
            return Ok(StepOutcome::wait(stopping, Duration::ZERO, being_stopped));
        }
        match rollout.roll_back(seen.as_ref()).await {
            Ok(()) => {}
            // The rollout ended between the check and the call; the next check reports how.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) if error.kind == ErrorKind::Credentials => {
                refused.note(error)?;
                return Ok(self.done(cx, &refused));
            }
            Err(error) => return Err(refused.with(failed(error))),
        }
        if seen.is_none() {
            // The stop was accepted, and its end cannot be seen.
            return Ok(self.done(cx, &refused));
        }
        Ok(StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, being_stopped))
    }

    /// The rollout has ended. That may have happened without Panda, and the traffic may have stayed on green: the deployment is then completed, not
    /// cancelled. After Panda's own stop a rollback is awaited, which CodeDeploy starts separately.
    async fn ended(
        &self,
        cx: &StepContext<'_>,
        seen: &Observed,
        mut refused: Refused,
    ) -> Result<StepOutcome, StepError> {
        let traffic = match cx.user.rollout(&seen.id).traffic(seen, was_sent(&cx.deployment.facts)).await {
            Ok(traffic) => traffic.at,
            Err(error) => refused.note(error).map(|()| Traffic::NeverSent)?,
        };
        Ok(match traffic {
            Traffic::Green if self.stopping && self.looks < LOOKS_AFTER_END => {
                self.poll_again(cx, message!("wait.not_back_yet", service = seen.id.service()))
            }
            Traffic::Green => completed(Some(seen)),
            Traffic::MovingBack | Traffic::Shifting => {
                StepOutcome::wait(self.clone(), poll_interval(cx), moving_back(&seen.id))
            }
            Traffic::Blue | Traffic::NeverSent => self.done(cx, &refused),
        })
    }

    /// Reports whether the traffic is on green. Without the permission to look, the rollout is stopped, which takes the traffic back.
    async fn has_shifted(
        &self,
        cx: &StepContext<'_>,
        id: &RolloutId,
        seen: &Observed,
        refused: &mut Refused,
    ) -> Result<bool, StepError> {
        match cx.user.rollout(id).traffic(seen, was_sent(&cx.deployment.facts)).await {
            Ok(traffic) => Ok(traffic.at == Traffic::Green),
            Err(error) => refused.note(error).map(|()| false),
        }
    }

    fn poll_again(&self, cx: &StepContext<'_>, why: Message) -> StepOutcome {
        let again = Self { looks: self.looks + 1, ..self.clone() };
        StepOutcome::wait(again, poll_interval(cx), why)
    }

    fn done(&self, cx: &StepContext<'_>, refused: &Refused) -> StepOutcome {
        if let Some(why) = Message::from_json(&self.gate) {
            let reason = message!("reason.with_refused_calls", reason = why, refused = refused.sentence());
            let sent = was_sent(&cx.deployment.facts);
            return if sent { rolled_back(reason) } else { stayed_on_blue(ErrorCode::GateFailed, reason) };
        }
        let moving = self.during == ConfirmSwitch::NAME;
        let moving = if moving { message!("reason.before_traffic_moved").into() } else { Param::from("") };
        let cause = match &cx.deployment.superseded_by {
            Some(newer) => message!("reason.cancelled_superseded", newer),
            None => message!("reason.cancelled_on_request"),
        };
        let refused = refused.sentence();
        let reason = message!("reason.cancelled", cause, step = &self.during, moving, refused).into();
        StepOutcome::new(Transition::Failed { code: ErrorCode::Cancelled, reason })
    }
}

/// Returns the time between two polls; shorter where executions are polled more often.
fn poll_interval(cx: &StepContext<'_>) -> Duration {
    POLL_INTERVAL.min(cx.services.settings.poll_interval)
}

/// Converts a failed call: the code stays CANCELLED, whatever could not be stopped.
fn failed(error: ClientError) -> StepError {
    StepError::from_client(ErrorCode::Cancelled)(error)
}

/// Replaces the code of another step's error by CANCELLED.
fn as_cancelled(error: StepError) -> StepError {
    match error {
        StepError::Retryable { reason, .. } => StepError::Retryable { code: ErrorCode::Cancelled, reason },
        StepError::Throttled { reason, .. } => StepError::Throttled { code: ErrorCode::Cancelled, reason },
        StepError::Credentials { reason, .. } => StepError::Credentials { code: ErrorCode::Cancelled, reason },
        StepError::Fatal { reason, .. } => StepError::Fatal { code: ErrorCode::Cancelled, reason },
    }
}
