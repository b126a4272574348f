//! Begins a further attempt of a failed deployment: determines the step to resume from, by checking the results of the earlier attempt in AWS.
//!
//! Before the push, the attempt resumes at the failed step. After the push there are three cases:
//!
//! - the execution is still running, or the rollout can still be switched: the attempt resumes at the failed step;
//! - neither exists any more: the remaining rollout is stopped (CodeDeploy and ECS run one per service at a time), and the pushed
//!   image gets this attempt's tag, which starts the pipeline again without a build;
//! - the image is gone as well: it is built again.
//!
//! Whatever is pushed again needs the event rule: where it is gone, the attempt begins with the rule.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ecr_repository::ecr_error;
use super::ensure_event_rule::pushes_reach_bus;
use super::gate_reading::blocked;
use super::grant_event_bus::first_source_step;
use super::rollout::moving_back;
use super::verify_green::ready;
use super::{
    AwaitSwitch, BuildImage, Cancel, CheckRollout, ConfirmSwitch, EnsureEventRule, FetchSource, FindExecution,
    FollowExecution, GrantEventBus, PushImage, RunStep, Step, StepContext, StepError, StepOutcome, SwitchTraffic,
    Transition, VerifyGreen,
};
use crate::clients::ErrorKind;
use crate::clients::aws::{ExecutionStatus, Observed};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::rollout::{Pause, RolloutId, Standing, Traffic};
use crate::domain::source::Source;

/// State of the resume step. The API writes it, from the row of the earlier attempt (`commands::retry`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Resume {
    /// Stored name of the failed step.
    pub step: String,
    /// State of the failed step.
    pub state: Value,
    /// Facts of the earlier attempt alone.
    pub past: Box<Facts>,
}

impl RunStep for Resume {
    const NAME: &'static str = "resume";
    const STAGE: u8 = 1;
    const REPORTED: (&'static str, Option<&'static str>) = ("Retry", None);

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let (step, state) = self.failed_step();
        let begun =
            Event::new(EventCode::RetryStarted).with("attempt", cx.deployment.attempt).with("step", step.as_str());
        cx.reporter.emit(begun).await;
        if let Some(ended) = blocked(cx).await? {
            return Ok(ended);
        }
        match step.as_str() {
            // Both are upserts, and the second follows from the first.
            EnsureEventRule::NAME | GrantEventBus::NAME => Ok(StepOutcome::next(EnsureEventRule::default())),
            // The workspace was removed on failure, and the newest commit may contain the fix.
            FetchSource::NAME | BuildImage::NAME => with_rule(cx, None).await,
            PushImage::NAME => push_again(cx).await,
            _ => self.resume_after_push(cx, &step, &state).await,
        }
    }
}

impl Resume {
    /// Returns the facts that the attempt takes over: health checks, the end of the traffic and waits are its own.
    fn pipeline(&self) -> Facts {
        Facts {
            blue_latency_ms: None,
            green_latency_ms: None,
            blue_error_rate: None,
            green_error_rate: None,
            final_service: None,
            ready_until: None,
            blue_terminated_at: None,
            restored_at: None,
            awaits_renewal: None,
            renewal_wait_ms: None,
            ..(*self.past).clone()
        }
    }

    /// Returns the failed step; for a cancelled attempt, the interrupted one.
    fn failed_step(&self) -> (String, Value) {
        match serde_json::from_value::<Cancel>(self.state.clone()) {
            Ok(cancel) if self.step == Cancel::NAME => (cancel.during, cancel.state),
            _ => (self.step.clone(), self.state.clone()),
        }
    }

    async fn resume_after_push(
        &self,
        cx: &StepContext<'_>,
        step: &str,
        state: &Value,
    ) -> Result<StepOutcome, StepError> {
        let Some(arn) = &self.past.execution_arn else { return self.find_execution_again(cx).await };
        // Earlier versions stored ids of other kinds, which AWS refuses: only another execution can report a right one.
        if self.past.rollout().is_some_and(|id| !id.is_valid()) {
            return push_again(cx).await;
        }
        let unreadable = StepError::from_client(ErrorCode::ExecutionUnreadable);
        let status = match cx.services.aws.controller().executions.describe(arn).await {
            Ok(execution) => Some(execution.status),
            // Deleted together with its history.
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(error)),
        };
        let lives = matches!(
            status,
            Some(ExecutionStatus::Running | ExecutionStatus::PendingRedrive | ExecutionStatus::Succeeded)
        );
        // The earlier attempt read the end of this execution, and failed by it: nothing more can come.
        let exhausted =
            status == Some(ExecutionStatus::Succeeded) && self.past.polling_state.as_deref() == Some("FAILED");
        // Events read so far were processed: only later ones count for this attempt.
        if lives && !exhausted && [FindExecution::NAME, FollowExecution::NAME].contains(&step) {
            let follow = FollowExecution::resumed(arn.clone(), state);
            return Ok(StepOutcome::next(follow).with_facts(self.pipeline()));
        }
        let resumed = match step {
            // The check's events belong to this attempt as well: users must be notified again that approval is awaited.
            VerifyGreen::NAME | AwaitSwitch::NAME => self.verify(cx),
            CheckRollout::NAME | SwitchTraffic::NAME | ConfirmSwitch::NAME => {
                Step::parse(step, &state.to_string()).ok().map(|step| StepOutcome::new(Transition::Next(step)))
            }
            _ => None,
        };
        self.rollout(cx, resumed).await
    }

    /// Searches again for an execution that was not found in time: it may exist nevertheless.
    async fn find_execution_again(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        for tag in cx.deployment.earlier_image_tags() {
            let repository = &cx.deployment.ecr_repository;
            let found = cx.user.ecr.find_image(repository, &tag).await;
            let Some(image) = found.map_err(ecr_error)? else { continue };
            let search = FindExecution { image_tag: tag, image_digest: image.digest, ..FindExecution::default() };
            if let found @ StepOutcome { transition: Transition::Next(_), .. } = search.run(cx).await? {
                return Ok(found);
            }
            break;
        }
        push_again(cx).await
    }

    /// Checks green again, if its URL is known.
    fn verify(&self, cx: &StepContext<'_>) -> Option<StepOutcome> {
        let rollout = self.past.rollout()?;
        if let Some(green_url) = self.past.green_url.clone() {
            return Some(StepOutcome::next(VerifyGreen { green_url, rollout, replaced: 0 }));
        }
        let await_switch = AwaitSwitch { rollout, pause: Pause::default(), replaced: 0 };
        Some(ready(&self.past, &cx.deployment.id, await_switch))
    }

    /// Resumes with `resumed` if the rollout can still be switched; otherwise stops it and begins again from the push.
    async fn rollout(&self, cx: &StepContext<'_>, resumed: Option<StepOutcome>) -> Result<StepOutcome, StepError> {
        let Some(id) = self.past.rollout() else { return push_again(cx).await };
        let failed = StepError::from_client(ErrorCode::SwitchFailed);
        let rollout = cx.user.rollout(&id);
        let seen = match rollout.observe().await {
            Ok(seen) => seen,
            Err(error) if error.kind == ErrorKind::NotFound => return push_again(cx).await,
            Err(error) => return Err(failed(error)),
        };
        if seen.standing == Standing::Ended {
            return self.after_the_end(cx, &seen).await;
        }
        if let Some(outcome) = resumed {
            return Ok(outcome.with_facts(self.pipeline()));
        }
        if seen.standing == Standing::Succeeded {
            return push_again(cx).await;
        }
        match rollout.roll_back(Some(&seen)).await {
            Ok(()) => {}
            // The rollout ended between the check and the call; the next check reports how.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(failed(error)),
        }
        let why = message!("wait.earlier_attempt", service = id.service());
        Ok(StepOutcome::wait(self.clone(), interval(cx), why))
    }

    /// Begins again from the push, once ECS has finished its rollback: it would not begin another deployment before.
    async fn after_the_end(&self, cx: &StepContext<'_>, seen: &Observed) -> Result<StepOutcome, StepError> {
        let RolloutId::EcsNative(_) = &seen.id else { return push_again(cx).await };
        let traffic = cx.user.rollout(&seen.id).traffic(seen, false).await;
        match traffic.map_err(StepError::from_client(ErrorCode::SwitchFailed))?.at {
            Traffic::MovingBack => Ok(StepOutcome::wait(self.clone(), interval(cx), moving_back(&seen.id))),
            _ => push_again(cx).await,
        }
    }
}

fn interval(cx: &StepContext<'_>) -> Duration {
    cx.services.settings.poll_interval.min(Duration::from_secs(2))
}

/// Pushes the image of an earlier attempt, in ECR or in the engine, with this attempt's tag.
async fn push_again(cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
    // An image that was in ECR from the start is published again, because a new tag alone may not be reported as a push.
    if matches!(cx.deployment.requested.source, Source::Image(_)) {
        return with_rule(cx, None).await;
    }
    let newest = cx.deployment.earlier_image_tags().next().unwrap_or_else(|| cx.deployment.image_tag());
    let image = format!("{}:{newest}", cx.deployment.ecr_repository);
    with_rule(cx, Some(PushImage { image, reuse: true, ..PushImage::default() })).await
}

/// Resumes with `push`, or from the source; before it with the rule, if pushes no longer start the pipeline: rule, target or permission may have been removed
/// since the earlier attempt.
async fn with_rule(cx: &StepContext<'_>, push: Option<PushImage>) -> Result<StepOutcome, StepError> {
    if !pushes_reach_bus(cx).await? {
        let push = push.map(Box::new);
        return Ok(StepOutcome::next(EnsureEventRule { push, ..EnsureEventRule::default() }));
    }
    Ok(push.map_or_else(|| StepOutcome::next(first_source_step(cx)), StepOutcome::next))
}
