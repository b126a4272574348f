//! Stage 4: waits for manual approval of the switch. The row is DEPLOYMENT_READY and has no owner; a switch request makes it claimable again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RunStep, Settings, StepContext, StepError, StepOutcome, SwitchTraffic, Transition};

/// State of a deployment that awaits approval.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AwaitSwitch {
    /// Id of the CodeDeploy deployment, for the later switch.
    pub code_deploy_deployment_id: String,
}

impl RunStep for AwaitSwitch {
    const NAME: &'static str = "await_switch";
    const STAGE: u8 = 4;

    /// Approval has no time limit.
    fn limit(_: &Settings) -> Duration {
        Duration::MAX
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        Ok(if cx.deployment.switch_requested {
            StepOutcome::next(SwitchTraffic { code_deploy_deployment_id: self.code_deploy_deployment_id.clone() })
        } else {
            StepOutcome::new(Transition::Ready(self.clone().into()))
        })
    }
}
