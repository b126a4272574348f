//! Stage 4: waits until the traffic is on green.
//!
//! CodeDeploy reports Succeeded only after its termination wait, which may take hours; the traffic has moved once AllowTraffic has succeeded.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rollout::{Traffic, allowed, said, traffic_after};
use super::watch_traffic::{completed, rolled_back};
use super::{RunStep, Settings, StepContext, StepError, StepOutcome, is_default};
use crate::clients::aws::{CodeDeployStatus, CodeDeployment, Priority};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::traffic_shift::LONGEST;

/// State of a switch in progress.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ConfirmSwitch {
    /// `d-…`, from the switch step.
    pub code_deploy_deployment_id: String,
    /// Time from the first to the last part of the traffic by the deployment configuration, in seconds. Absent in rows of earlier versions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shift_seconds: u64,
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
        Some(message!("reason.maybe_on_green").into())
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let id = &self.code_deploy_deployment_id;
        let deployment = cx.user.codedeploy.deployment(id).await.map_err(not_readable)?;
        match deployment.status {
            CodeDeployStatus::Succeeded => return Ok(completed(Some(&deployment))),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => return self.ended(cx, &deployment).await,
            _ => {}
        }
        let target = cx.user.codedeploy.target(id).await.map_err(not_readable)?;
        if allowed(&target.lifecycle) {
            return Ok(completed(Some(&deployment)));
        }
        let polled =
            StepOutcome::poll(self.clone(), cx.services.settings.poll_interval, "CodeDeploy is shifting the traffic");
        Ok(match target.weights {
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
    /// CodeDeploy ended during the switch: the traffic may be on either side.
    async fn ended(&self, cx: &StepContext<'_>, deployment: &CodeDeployment) -> Result<StepOutcome, StepError> {
        let reason = said(deployment);
        match traffic_after(cx, deployment).await.map_err(not_readable)? {
            None => Err(StepError::fatal(ErrorCode::SwitchFailed, reason)),
            Some(Traffic::Green) => Ok(completed(Some(deployment))),
            Some(Traffic::Blue) => Ok(rolled_back(reason)),
            Some(Traffic::MovingBack) => {
                let interval = cx.services.settings.poll_interval;
                Ok(StepOutcome::wait(self.clone(), interval, "CodeDeploy is taking the traffic back to blue"))
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
