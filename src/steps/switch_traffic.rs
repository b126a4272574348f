//! Stage 4: lets CodeDeploy send the traffic to green.
//!
//! ContinueDeployment is not idempotent: the deployment is checked before the call, and again in case of doubt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfirmSwitch, RunStep, Settings, StepContext, StepError, StepOutcome};
use crate::clients::aws::{CodeDeployStatus, CodeDeployment, LifecycleEvent};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::text;
use crate::domain::traffic_shift::LONGEST;

/// State of the switch step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SwitchTraffic {
    /// `d-…`, from the history of the controller's execution.
    pub code_deploy_deployment_id: String,
}

impl RunStep for SwitchTraffic {
    const NAME: &'static str = "switch_traffic";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::SwitchTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::SwitchFailed);
        let id = &self.code_deploy_deployment_id;
        let code_deploy = &cx.user.codedeploy;
        let again = |why: String| Ok(StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, why));
        let deployment = code_deploy.deployment(id).await.map_err(&failed)?;
        match deployment.status {
            CodeDeployStatus::Ready => {
                // Read before the switch, so that a throttled call does not separate the switch from its record.
                let shift = shift(cx, &deployment).await.map_err(&failed)?;
                match code_deploy.continue_deployment(id).await {
                    Ok(()) => Ok(self.started(shift)),
                    // The deployment changed between the check and the call, or a response was lost: check again.
                    Err(error) if error.kind == ErrorKind::Conflict => again(text::reason(&error.to_string())),
                    Err(error) => Err(failed(error)),
                }
            }
            CodeDeployStatus::Succeeded => Ok(self.started(Duration::ZERO)),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => Err(StepError::fatal(
                ErrorCode::SwitchFailed,
                deployment.error.unwrap_or_else(|| format!("CodeDeploy deployment {id} is {:?}", deployment.status)),
            )),
            // Created and Queued mean "not yet": such a deployment has no targets, so its life cycle is empty.
            _ => {
                let lifecycle = code_deploy.lifecycle(id).await.map_err(&failed)?;
                if is_shifting(&lifecycle) {
                    Ok(self.started(shift(cx, &deployment).await.map_err(&failed)?))
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
        StepOutcome::next(ConfirmSwitch { code_deploy_deployment_id: id.clone(), shift_seconds: shift.as_secs() })
            .with_event(Event::new(EventCode::SwitchStarted).with("code_deploy_deployment_id", id))
    }
}

/// Returns the duration of the shift by CodeDeploy's configuration; the longest one if the configuration cannot be read.
pub(super) async fn shift(cx: &StepContext<'_>, deployment: &CodeDeployment) -> Result<Duration, ClientError> {
    let Some(configuration) = &deployment.configuration else { return Ok(Duration::ZERO) };
    match cx.user.codedeploy.traffic_shift(configuration).await {
        Ok(shift) => Ok(shift.duration()),
        Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) => Err(error),
        Err(error) => {
            tracing::info!(configuration, kind = ?error.kind, call = error.call, "deployment configuration not readable, assuming the longest traffic shift");
            Ok(LONGEST)
        }
    }
}

/// Reports whether the traffic is shifting already: the response to ContinueDeployment was lost, or another caller continued the deployment.
fn is_shifting(lifecycle: &[LifecycleEvent]) -> bool {
    lifecycle.iter().any(|event| {
        matches!(event.name.as_str(), "BeforeAllowTraffic" | "AllowTraffic" | "AfterAllowTraffic")
            && matches!(event.status.as_str(), "InProgress" | "Succeeded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, status: &str) -> LifecycleEvent {
        LifecycleEvent { name: name.to_owned(), status: status.to_owned() }
    }

    #[test]
    fn detects_traffic_shift() {
        assert!(!is_shifting(&[event("Install", "Succeeded"), event("BeforeAllowTraffic", "Pending")]));
        assert!(is_shifting(&[event("BeforeAllowTraffic", "InProgress"), event("AllowTraffic", "Pending")]));
        assert!(is_shifting(&[event("AllowTraffic", "Succeeded")]));
    }
}
