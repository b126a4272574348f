//! Stage 4: lets CodeDeploy send the traffic to green.
//!
//! ContinueDeployment is not idempotent: the deployment is checked before the call, and again in case of doubt. A look that is denied says nothing: an
//! earlier call, whose answer was lost, may have moved the traffic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::confirm_switch::not_readable;
use super::rollout::{allowed, expired, is_shifting, said, switch_expired};
use super::{ConfirmSwitch, RunStep, Settings, StepContext, StepError, StepOutcome, is_default};
use crate::clients::aws::{CodeDeployStatus, CodeDeployment, Priority};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::text;
use crate::domain::traffic_shift::LONGEST;

/// State of the switch step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SwitchTraffic {
    /// `d-…`, from the history of the controller's execution.
    pub code_deploy_deployment_id: String,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
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
        Some(message!("reason.maybe_on_green").into())
    }

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::SwitchFailed);
        let id = &self.code_deploy_deployment_id;
        let code_deploy = &cx.user.codedeploy;
        let again = |why: String| Ok(StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, why));
        let deployment = code_deploy.deployment(id).await.map_err(not_readable)?;
        match deployment.status {
            CodeDeployStatus::Ready => {
                // Read before the switch, so that a throttled call does not separate the switch from its record.
                let shift = shift(cx, &deployment).await.map_err(not_readable)?;
                match code_deploy.continue_deployment(id).await {
                    Ok(()) => Ok(self.started(shift)),
                    // The deployment changed between the check and the call, or a response was lost: check again.
                    Err(error) if error.kind == ErrorKind::Conflict => again(text::reason(&error.to_string())),
                    Err(error) => Err(failed(error)),
                }
            }
            CodeDeployStatus::Succeeded => Ok(self.started(Duration::ZERO)),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => {
                if let Some(until) = expired(cx, &deployment) {
                    return Ok(switch_expired(until, said(&deployment)));
                }
                // Continued and ended by others: the next step finds out where the traffic is.
                if allowed(&code_deploy.lifecycle(id).await.map_err(not_readable)?) {
                    return Ok(self.started(Duration::ZERO));
                }
                Err(StepError::fatal(ErrorCode::SwitchFailed, said(&deployment)))
            }
            // Created and Queued mean "not yet": such a deployment has no targets, so its life cycle is empty.
            _ => {
                let lifecycle = code_deploy.lifecycle(id).await.map_err(not_readable)?;
                if is_shifting(&lifecycle) {
                    Ok(self.started(shift(cx, &deployment).await.map_err(not_readable)?))
                } else {
                    again("CodeDeploy is not ready for the switch yet".to_owned())
                }
            }
        }
    }
}

impl SwitchTraffic {
    fn started(&self, shift: Duration) -> StepOutcome {
        let id = self.code_deploy_deployment_id.clone();
        StepOutcome::next(ConfirmSwitch {
            code_deploy_deployment_id: id.clone(),
            shift_seconds: shift.as_secs(),
            replaced: self.replaced,
        })
        .with_event(Event::new(EventCode::SwitchStarted).with("code_deploy_deployment_id", id))
    }
}

/// Returns the duration of the shift by CodeDeploy's configuration; the longest one if the configuration cannot be read.
pub(super) async fn shift(cx: &StepContext<'_>, deployment: &CodeDeployment) -> Result<Duration, ClientError> {
    let Some(configuration) = &deployment.configuration else { return Ok(Duration::ZERO) };
    match cx.user.codedeploy.traffic_shift(configuration).await {
        Ok(shift) => Ok(shift.duration()),
        Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Credentials) => {
            Err(error)
        }
        Err(error) => {
            tracing::info!(configuration, kind = ?error.kind, call = error.call, "deployment configuration not readable, assuming the longest traffic shift");
            Ok(LONGEST)
        }
    }
}
