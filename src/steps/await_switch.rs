//! Stage 4: waits for manual approval of the switch. The row is `DEPLOYMENT_READY` and has no owner; a switch request makes it claimable again.
//!
//! AWS may end the wait: at its deadline, by an alarm, or through its console. The watch (`background/watch`) notices that and requests a look,
//! which makes the row claimable as well. The step then asks CodeDeploy; calls that are denied or throttled change nothing.

use std::time::Duration;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use super::rollout::{Traffic, expired, is_shifting, ready_until, said, stayed_on_blue, switch_expired, traffic_after};
use super::switch_traffic::shift;
use super::watch_traffic::{completed, rolled_back};
use super::{
    ConfirmSwitch, RunStep, Settings, StepContext, StepError, StepOutcome, SwitchTraffic, Transition, is_default,
};
use crate::clients::aws::{CodeDeployStatus, CodeDeployment};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;

/// State of a deployment that awaits approval.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AwaitSwitch {
    /// Id of the CodeDeploy deployment, for the later switch.
    pub code_deploy_deployment_id: String,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
}

impl RunStep for AwaitSwitch {
    const NAME: &'static str = "await_switch";
    const STAGE: u8 = 4;

    /// Approval has no time limit of Panda's.
    fn limit(_: &Settings) -> Duration {
        Duration::MAX
    }

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let id = &self.code_deploy_deployment_id;
        if cx.deployment.switch_requested {
            let switch = SwitchTraffic { code_deploy_deployment_id: id.clone(), replaced: self.replaced };
            return Ok(StepOutcome::next(switch).without_answer());
        }
        let deployment = match cx.user.codedeploy.deployment(id).await {
            Ok(deployment) => deployment,
            Err(error) if error.kind == ErrorKind::NotFound => {
                let account = &cx.deployment.account_id;
                let reason = message!("reason.code_deploy_gone", account, id);
                return Ok(stayed_on_blue(ErrorCode::StoppedWhileReady, reason));
            }
            Err(error) => return self.unread(error),
        };
        match self.look(cx, &deployment).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => self.unread(error),
        }
    }
}

impl AwaitSwitch {
    fn still(&self) -> StepOutcome {
        StepOutcome::new(Transition::Ready(self.clone().into()))
    }

    /// Waits for the next look: neither a denial nor throttling says anything about the deployment. Refused credentials are reported: neither a switch nor
    /// a cancellation is possible until they are renewed.
    fn unread(&self, error: ClientError) -> Result<StepOutcome, StepError> {
        if error.kind == ErrorKind::Credentials {
            return Err(StepError::from_client(ErrorCode::ConnectionUnusable)(error));
        }
        tracing::info!(kind = ?error.kind, call = error.call, "deployment that awaits its switch not readable, looking again later");
        // A denial is an answer to accepted credentials; otherwise AWS may not have looked at them.
        let answered = error.kind == ErrorKind::Denied;
        Ok(if answered { self.still() } else { self.still().without_answer() })
    }

    async fn look(&self, cx: &StepContext<'_>, deployment: &CodeDeployment) -> Result<StepOutcome, ClientError> {
        let id = &self.code_deploy_deployment_id;
        match deployment.status {
            CodeDeployStatus::Ready => self.waits(cx, deployment).await,
            CodeDeployStatus::Created | CodeDeployStatus::Queued => Ok(self.still()),
            CodeDeployStatus::Succeeded => Ok(self.continued(completed(Some(deployment)))),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => self.ended(cx, deployment).await,
            _ => {
                if !is_shifting(&cx.user.codedeploy.lifecycle(id).await?) {
                    return Ok(self.still());
                }
                let shift_seconds = shift(cx, deployment).await?.as_secs();
                let (code_deploy_deployment_id, replaced) = (id.clone(), self.replaced);
                let confirm = ConfirmSwitch { code_deploy_deployment_id, shift_seconds, replaced };
                Ok(self.continued(StepOutcome::next(confirm)))
            }
        }
    }

    /// Learns the deadline, if it was not known when the deployment became ready.
    async fn waits(&self, cx: &StepContext<'_>, deployment: &CodeDeployment) -> Result<StepOutcome, ClientError> {
        if cx.deployment.facts.ready_until.is_some() || deployment.ready_wait.is_none() {
            return Ok(self.still());
        }
        let lifecycle = match cx.user.codedeploy.lifecycle(&deployment.id).await {
            Ok(lifecycle) => lifecycle,
            // Without the permission, the wait counts from now: too late by the time since it began.
            Err(error) if error.kind == ErrorKind::Denied => Vec::new(),
            Err(error) => return Err(error),
        };
        let ready_until = ready_until(deployment, &lifecycle, Utc::now());
        Ok(self.still().with_facts(Facts { ready_until, ..Facts::default() }))
    }

    /// The traffic was sent to green through AWS.
    fn continued(&self, mut outcome: StepOutcome) -> StepOutcome {
        let id = self.code_deploy_deployment_id.as_str();
        let event = Event::new(EventCode::ContinuedOutside).with("code_deploy_deployment_id", id);
        outcome.events.insert(0, event);
        outcome
    }

    /// CodeDeploy has ended the deployment: without the traffic on green, or after it was there.
    async fn ended(&self, cx: &StepContext<'_>, deployment: &CodeDeployment) -> Result<StepOutcome, ClientError> {
        let said = said(deployment);
        Ok(match traffic_after(cx, deployment).await? {
            Some(Traffic::MovingBack) => self.still(),
            Some(Traffic::Green) => self.continued(completed(Some(deployment))),
            Some(Traffic::Blue) => self.continued(rolled_back(said)),
            None => match expired(cx, deployment) {
                Some(until) => switch_expired(until, said),
                None => stayed_on_blue(ErrorCode::StoppedWhileReady, said),
            },
        })
    }
}
