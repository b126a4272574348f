//! Stage 4: lets AWS send the traffic to green.
//!
//! Continuing a rollout is not idempotent: the rollout is checked before the call, and again in case of doubt. A look that is denied says nothing: an
//! earlier call, whose answer was lost, may have moved the traffic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::confirm_switch::not_readable;
use super::rollout::{about, expired, is_ours, other_image, said, switch_expired, was_sent};
use super::{ConfirmSwitch, RunStep, Settings, StepContext, StepError, StepOutcome, is_default, listener_guard};
use crate::clients::ErrorKind;
use crate::clients::aws::{Observed, Priority};
use crate::domain::catalogue::EventCode;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::rollout::{Pause, RolloutId, Standing, Traffic};
use crate::domain::text;

/// State of the switch step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SwitchTraffic {
    /// Rollout that shifts the traffic, from the history of the controller's execution.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
    /// Pause that was approved; empty where it was not seen before the approval.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pause: Pause,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
    /// Audit row of the request: keys the event of a refusal, because another request may follow it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: i64,
}

impl RunStep for SwitchTraffic {
    const NAME: &'static str = "switch_traffic";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Urgent;
    const TIMED_OUT: ErrorCode = ErrorCode::SwitchTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit
    }

    async fn timeout_cause(&self, _: &StepContext<'_>) -> Option<Reason> {
        Some(message!("reason.maybe_on_green", service = self.rollout.service()).into())
    }

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    /// An unreadable load balancer does not end the deployment: nothing was moved. If a later try was moving it when the limit passed, the watch sees that.
    fn after_limit(&self, last_error: Option<ErrorCode>) -> Option<StepOutcome> {
        let unread = last_error == Some(ErrorCode::ListenerUnreadable);
        unread.then(|| listener_guard::refused(self, &message!("reason.listener_unanswered").into()))
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let rollout = cx.user.rollout(&self.rollout);
        let seen = rollout.observe().await.map_err(not_readable)?;
        if let Standing::Waiting(pause) = &seen.standing {
            return self.approved(cx, &seen, pause).await;
        }
        if seen.standing == Standing::Succeeded {
            return Ok(self.started(Duration::ZERO));
        }
        if seen.standing == Standing::Ended
            && let Some(until) = expired(cx, &seen)
        {
            return Ok(switch_expired(until, said(&seen)));
        }
        let traffic = rollout.traffic(&seen, was_sent(&cx.deployment.facts)).await.map_err(not_readable)?;
        match (&seen.standing, traffic.at) {
            (Standing::Ended, Traffic::NeverSent) => Err(StepError::fatal(ErrorCode::SwitchFailed, said(&seen))),
            // Continued and ended by others: the next step finds out where the traffic is.
            (Standing::Ended, _) => Ok(self.started(Duration::ZERO)),
            (_, Traffic::NeverSent) => {
                Ok(self.again(cx, format!("{} is not ready for the switch yet", self.rollout.service())))
            }
            _ => Ok(self.started(rollout.shift_duration(&seen).await.map_err(not_readable)?)),
        }
    }
}

impl SwitchTraffic {
    /// The rollout waits: it proceeds if the wait is the approved one, and the image the approved one.
    async fn approved(&self, cx: &StepContext<'_>, seen: &Observed, pause: &Pause) -> Result<StepOutcome, StepError> {
        let rollout = cx.user.rollout(&self.rollout);
        if self.pause == Pause::default() && pause.hook.is_some() {
            // Committed before the call: after a crash, the next pause of the rollout must not pass for the approved one.
            let known = Self { pause: pause.clone(), ..self.clone() };
            return Ok(StepOutcome::wait(known, Duration::ZERO, message!("wait.pause_recorded")));
        }
        if !self.pause.is(pause) {
            // The approved wait is over, perhaps by an earlier call whose answer was lost. The next step requests approval of this one.
            return Ok(self.started(rollout.shift_duration(seen).await.map_err(not_readable)?));
        }
        if !is_ours(cx, seen).await.map_err(not_readable)? {
            return Err(StepError::fatal(ErrorCode::ExecutionOutputInvalid, other_image(cx, seen)));
        }
        // Read before the switch, so that a throttled call does not separate the switch from its record.
        let shift = rollout.shift_duration(seen).await.map_err(not_readable)?;
        if let Some(refused) = listener_guard::refusal(cx, seen, self).await? {
            return Ok(refused);
        }
        match rollout.proceed(pause).await {
            Ok(()) => Ok(self.started(shift)),
            // The rollout changed between the check and the call, or a response was lost: check again.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(self.again(cx, text::reason(&error.to_string()))),
            Err(error) => Err(StepError::from_client(ErrorCode::SwitchFailed)(error)),
        }
    }

    fn again(&self, cx: &StepContext<'_>, why: String) -> StepOutcome {
        StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, why)
    }

    fn started(&self, shift: Duration) -> StepOutcome {
        let mut event = about(EventCode::SwitchStarted, &self.rollout);
        if let Some(occurrence) = self.pause.occurrence() {
            event = event.keyed(occurrence);
        }
        let Self { rollout, pause, replaced, .. } = self.clone();
        StepOutcome::next(ConfirmSwitch { rollout, shift_seconds: shift.as_secs(), pause, replaced }).with_event(event)
    }
}
