//! A person's turn. The row is DEPLOYMENT_READY and nobody's; the wish to switch makes it claimable again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Context, Outcome, Run, Settings, StepError, SwitchTraffic, Then};

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AwaitSwitch {
    /// For the switch to come.
    pub code_deploy_deployment_id: String,
}

impl Run for AwaitSwitch {
    const NAME: &'static str = "await_switch";
    const STAGE: u8 = 4;

    /// A person may take as long as they like.
    fn limit(_: &Settings) -> Duration {
        Duration::MAX
    }

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        Ok(if cx.deployment.switch_requested {
            Outcome::next(SwitchTraffic { code_deploy_deployment_id: self.code_deploy_deployment_id.clone() })
        } else {
            Outcome::new(Then::Ready(self.clone().into()))
        })
    }
}
