//! Stage 4: waits until the traffic is on green.
//!
//! CodeDeploy reports Succeeded only after its termination wait, which may take hours; the traffic has moved once AllowTraffic has succeeded.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::follow_execution::completed;
use super::{RunStep, Settings, StepContext, StepError, StepOutcome};
use crate::clients::aws::CodeDeployStatus;
use crate::domain::failure::ErrorCode;
use crate::domain::traffic_shift::LONGEST;

/// State of a switch in progress.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ConfirmSwitch {
    /// `d-…`, from the switch step.
    pub code_deploy_deployment_id: String,
    /// Time from the first to the last part of the traffic by the deployment configuration, in seconds. Absent in rows of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shift_seconds: u64,
}

impl RunStep for ConfirmSwitch {
    const NAME: &'static str = "confirm_switch";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::SwitchTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit
    }

    const LONGEST_EXTRA: Duration = LONGEST;

    /// A shift in parts may last for hours; the limit of the switch is added as a margin for hooks and health checks.
    fn extra_limit(&self) -> Duration {
        Duration::from_secs(self.shift_seconds).min(LONGEST)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::SwitchFailed);
        let id = &self.code_deploy_deployment_id;
        let deployment = cx.user.codedeploy.deployment(id).await.map_err(&failed)?;
        match deployment.status {
            CodeDeployStatus::Succeeded => return Ok(completed()),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => {
                let reason = deployment
                    .error
                    .unwrap_or_else(|| format!("CodeDeploy deployment {id} is {:?}", deployment.status));
                return Err(StepError::fatal(ErrorCode::SwitchFailed, reason));
            }
            _ => {}
        }
        let lifecycle = cx.user.codedeploy.lifecycle(id).await.map_err(&failed)?;
        if lifecycle.iter().any(|event| event.name == "AllowTraffic" && event.status == "Succeeded") {
            return Ok(completed());
        }
        Ok(StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, "CodeDeploy is shifting the traffic"))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}
