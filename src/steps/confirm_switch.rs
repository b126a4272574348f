//! Stage 4: waits until the traffic is on green.
//!
//! AWS reports success only after its termination wait or bake time, which may take hours; the switch is over once all traffic has moved. A rollout of ECS
//! may wait for a further approval before that.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rollout::{moving_back, said, seen_pause, was_sent};
use super::watch_traffic::{completed, rolled_back};
use super::{AwaitSwitch, CheckGates, RunStep, Settings, StepContext, StepError, StepOutcome, is_default};
use crate::clients::aws::{Observed, Priority};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::rollout::{Pause, RolloutId, Standing, Traffic};
use crate::domain::traffic_shift::LONGEST;

/// State of a switch in progress.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ConfirmSwitch {
    /// Rollout that shifts the traffic, from the switch step.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
    /// Time from the first to the last part of the traffic by the deployment configuration, in seconds. Absent in rows of earlier versions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shift_seconds: u64,
    /// Pause that was approved; a further one needs its own approval.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pause: Pause,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
}

impl RunStep for ConfirmSwitch {
    const NAME: &'static str = "confirm_switch";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Urgent;
    const TIMED_OUT: ErrorCode = ErrorCode::SwitchTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit
    }

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    const LONGEST_EXTRA: Duration = LONGEST;

    /// A shift in parts may last for hours; the limit of the switch is added as a margin for hooks and health checks.
    fn extra_limit(&self) -> Duration {
        Duration::from_secs(self.shift_seconds).min(LONGEST)
    }

    async fn timeout_cause(&self, _: &StepContext<'_>) -> Option<Reason> {
        Some(message!("reason.maybe_on_green", service = self.rollout.service()).into())
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let rollout = cx.user.rollout(&self.rollout);
        let seen = rollout.poll().await.map_err(not_readable)?;
        match &seen.standing {
            Standing::Succeeded => return Ok(completed(Some(&seen))),
            Standing::Ended => return self.ended(cx, &seen).await,
            Standing::Waiting(pause) if pause.hook.is_some() && !self.pause.is(pause) => {
                let Self { rollout, replaced, .. } = self.clone();
                let await_switch = AwaitSwitch { rollout, pause: pause.clone(), replaced };
                let traffic = cx.user.rollout(&self.rollout).traffic(&seen, true).await.map_err(not_readable)?;
                let reached = seen_pause(cx, &seen, pause).await.map_err(not_readable)?;
                let again = await_switch.again(cx).with_facts(reached);
                let Some(weights) = traffic.weights else { return Ok(again) };
                let mut outcome = with_progress(again, weights, cx.deployment.facts.green_weight);
                // What moved comes before what is awaited next.
                outcome.events.reverse();
                return Ok(outcome);
            }
            _ => {}
        }
        let traffic = rollout.traffic(&seen, was_sent(&cx.deployment.facts)).await.map_err(not_readable)?;
        if traffic.at == Traffic::Green {
            return Ok(CheckGates::bake(cx, self.clone()).unwrap_or_else(|| completed(Some(&seen))));
        }
        let shifting = message!("wait.shifting", service = self.rollout.service());
        let polled = StepOutcome::poll(self.clone(), cx.services.settings.poll_interval, shifting);
        Ok(match traffic.weights {
            Some(weights) => with_progress(polled, weights, cx.deployment.facts.green_weight),
            None => polled,
        })
    }
}

/// Adds a changed share of the traffic: an event for each part of a shift in parts. A shift in one step has no event beside those of the switch.
fn with_progress(polled: StepOutcome, (blue, green): (f64, f64), known: Option<f64>) -> StepOutcome {
    let moved = green > 0.0 && green < 100.0 && known != Some(green);
    if !moved {
        return polled;
    }
    let event = Event::new(EventCode::TrafficShifted)
        .with("green", percentage(green))
        .with("blue", percentage(blue))
        .keyed(green);
    polled.with_event(event).with_facts(Facts { green_weight: Some(green), ..Facts::default() })
}

/// A percentage as a number without needless decimals: 10, not 10.0.
fn percentage(percent: f64) -> Value {
    serde_json::from_str(&percent.to_string()).unwrap_or_else(|_| Value::from(percent))
}

impl ConfirmSwitch {
    /// The rollout ended during the switch: the traffic may be on either side.
    async fn ended(&self, cx: &StepContext<'_>, seen: &Observed) -> Result<StepOutcome, StepError> {
        let traffic = cx.user.rollout(&self.rollout).traffic(seen, was_sent(&cx.deployment.facts)).await;
        match traffic.map_err(not_readable)?.at {
            Traffic::NeverSent => Err(StepError::fatal(ErrorCode::SwitchFailed, said(seen))),
            Traffic::Green => Ok(completed(Some(seen))),
            Traffic::Blue => Ok(rolled_back(said(seen))),
            Traffic::MovingBack | Traffic::Shifting => {
                Ok(StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, moving_back(&self.rollout)))
            }
        }
    }
}

/// Converts a failed call. The traffic may be moving, so that a denial must not end the deployment as FAILED: it is repeated within the time limit.
pub(super) fn not_readable(error: ClientError) -> StepError {
    let denied = error.kind == ErrorKind::Denied;
    match StepError::from_client(ErrorCode::SwitchFailed)(error) {
        StepError::Fatal { code, reason } if denied => StepError::Retryable { code, reason },
        other => other,
    }
}
