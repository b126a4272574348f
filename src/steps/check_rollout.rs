//! Stage 4: asks CodeDeploy where the traffic is, after an execution that succeeded without an approval that Panda understood.
//!
//! `ExecutionSucceeded` says only that the state machine ended. It also ends so when it handled a failure, or when its outputs have a form that
//! Panda does not read.

use serde::{Deserialize, Serialize};

use super::follow_execution::{approval, output_invalid};
use super::rollout::{Traffic, allowed, is_shifting, said, traffic_after};
use super::switch_traffic::shift;
use super::watch_traffic::{completed, rolled_back};
use super::{ConfirmSwitch, RunStep, StepContext, StepError, StepOutcome, Transition, is_default};
use crate::clients::ErrorKind;
use crate::clients::aws::CodeDeployStatus;
use crate::domain::deployment::Facts;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};

/// State of asking CodeDeploy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CheckRollout {
    /// `d-…`, from the history of the controller's execution.
    pub code_deploy_deployment_id: String,
    /// What the history says about the check, as a clause.
    pub seen: String,
    /// Values of the outputs that were refused, as a clause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
}

impl RunStep for CheckRollout {
    const NAME: &'static str = "check_rollout";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::ExecutionOutputInvalid;

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let unanswered = StepError::from_client(ErrorCode::ExecutionOutputInvalid);
        let id = &self.code_deploy_deployment_id;
        let code_deploy = &cx.user.codedeploy;
        let deployment = match code_deploy.deployment(id).await {
            Ok(deployment) => deployment,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {
                let account = &cx.deployment.account_id;
                return Ok(output_invalid(self.finding(message!("reason.no_code_deploy", account, id))));
            }
            Err(error) => return Err(unanswered(error)),
        };
        match deployment.status {
            CodeDeployStatus::Ready => {
                let ready = Facts { polling_state: Some("DEPLOYMENT_READY".to_owned()), ..Facts::default() };
                let approval = approval(&cx.deployment.facts, &cx.deployment.id, self.replaced, self.refused.clone());
                let kept =
                    if matches!(approval.transition, Transition::Failed { .. }) { Facts::default() } else { ready };
                return Ok(approval.with_facts(kept));
            }
            CodeDeployStatus::Succeeded => return Ok(completed(Some(&deployment))),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => {
                match traffic_after(cx, &deployment).await.map_err(&unanswered)? {
                    None => {}
                    Some(Traffic::Green) => return Ok(completed(Some(&deployment))),
                    Some(Traffic::Blue) => return Ok(rolled_back(said(&deployment))),
                    Some(Traffic::MovingBack) => {
                        let interval = cx.services.settings.poll_interval;
                        let why = "CodeDeploy is taking the traffic back to blue";
                        return Ok(StepOutcome::wait(self.clone(), interval, why));
                    }
                }
                let reason = self.finding(said(&deployment)).into();
                let facts = Facts { polling_state: Some("FAILED".to_owned()), ..Facts::default() };
                let failed = Transition::Failed { code: ErrorCode::SwitchFailed, reason };
                return Ok(StepOutcome::new(failed).with_facts(facts));
            }
            _ => {}
        }
        let lifecycle = code_deploy.lifecycle(id).await.map_err(&unanswered)?;
        if allowed(&lifecycle) {
            return Ok(completed(Some(&deployment)));
        }
        if is_shifting(&lifecycle) {
            let shift_seconds = shift(cx, &deployment).await.map_err(&unanswered)?.as_secs();
            return Ok(StepOutcome::next(ConfirmSwitch {
                code_deploy_deployment_id: id.clone(),
                shift_seconds,
                replaced: self.replaced,
            }));
        }
        let state = message!("reason.code_deploy_state", id, status = format!("{:?}", deployment.status));
        Ok(StepOutcome::poll(self.clone(), cx.services.settings.poll_interval, self.finding(state)))
    }
}

impl CheckRollout {
    fn finding(&self, finding: Message) -> Message {
        let refused = self.refused.as_ref().map(|refused| format!("; {refused}")).unwrap_or_default();
        message!("reason.not_on_green", finding, seen = &self.seen, refused)
    }
}
