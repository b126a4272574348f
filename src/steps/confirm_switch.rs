//! Stage 4: is the traffic on green?
//!
//! CodeDeploy says Succeeded only after its termination wait, which may be hours: the traffic is there when AllowTraffic succeeded.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::follow_execution::completed;
use super::{Context, Outcome, Run, Settings, StepError};
use crate::clients::aws::CodeDeployStatus;
use crate::domain::failure::ErrorCode;

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ConfirmSwitch {
    /// The deployment in CodeDeploy.
    pub code_deploy_deployment_id: String,
}

impl Run for ConfirmSwitch {
    const NAME: &'static str = "confirm_switch";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::SwitchTimedOut;

    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let failed = StepError::from_client(ErrorCode::SwitchFailed);
        let id = &self.code_deploy_deployment_id;
        let deployment = cx.user.codedeploy.deployment(id).await.map_err(&failed)?;
        match deployment.status {
            CodeDeployStatus::Succeeded => return Ok(completed()),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => {
                let said = deployment
                    .error
                    .unwrap_or_else(|| format!("CodeDeploy deployment {id} is {:?}", deployment.status));
                return Err(StepError::fatal(ErrorCode::SwitchFailed, said));
            }
            _ => {}
        }
        let lifecycle = cx.user.codedeploy.lifecycle(id).await.map_err(&failed)?;
        if lifecycle.iter().any(|event| event.name == "AllowTraffic" && event.status == "Succeeded") {
            return Ok(completed());
        }
        Ok(Outcome::wait(self.clone(), cx.services.settings.poll_interval, "CodeDeploy is shifting the traffic"))
    }
}
