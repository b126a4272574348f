//! Stage 4: asks AWS where the traffic is, after an execution that succeeded without an approval that Panda understood.
//!
//! `ExecutionSucceeded` says only that the state machine ended. It also ends so when it handled a failure, or when its outputs have a form that
//! Panda does not read.

use serde::{Deserialize, Serialize};

use super::follow_execution::{approval, output_invalid};
use super::rollout::{is_ours, moving_back, other_image, said, was_sent};
use super::watch_traffic::{completed, rolled_back};
use super::{ConfirmSwitch, RunStep, StepContext, StepError, StepOutcome, Transition, is_default};
use crate::clients::ErrorKind;
use crate::domain::deployment::Facts;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use crate::domain::rollout::{Pause, RolloutId, Standing, Traffic};

/// State of asking AWS.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CheckRollout {
    /// Rollout, from the history of the controller's execution.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
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
        let (rollout, service, id) = (cx.user.rollout(&self.rollout), self.rollout.service(), self.rollout.as_str());
        let seen = match rollout.poll().await {
            Ok(seen) => seen,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {
                let account = &cx.deployment.account_id;
                return Ok(output_invalid(self.finding(message!("reason.no_rollout", account, service, id))));
            }
            Err(error) => return Err(unanswered(error)),
        };
        if !is_ours(cx, &seen).await.map_err(&unanswered)? {
            return Ok(output_invalid(self.finding(other_image(cx, &seen))));
        }
        match seen.standing {
            Standing::Waiting(_) => {
                let ready = Facts { polling_state: Some("DEPLOYMENT_READY".to_owned()), ..Facts::default() };
                let approval = approval(&cx.deployment.facts, &cx.deployment.id, self.replaced, self.refused.clone());
                let kept =
                    if matches!(approval.transition, Transition::Failed { .. }) { Facts::default() } else { ready };
                return Ok(approval.with_facts(kept));
            }
            Standing::Succeeded => return Ok(completed(Some(&seen))),
            Standing::Pending | Standing::Active | Standing::Unknown | Standing::Ended => {}
        }
        let traffic = rollout.traffic(&seen, was_sent(&cx.deployment.facts)).await.map_err(&unanswered)?.at;
        let interval = cx.services.settings.poll_interval;
        Ok(match (&seen.standing, traffic) {
            (_, Traffic::Green) => completed(Some(&seen)),
            (_, Traffic::Blue) => rolled_back(said(&seen)),
            (_, Traffic::MovingBack) => StepOutcome::wait(self.clone(), interval, moving_back(&self.rollout)),
            (Standing::Ended, _) => {
                let reason = self.finding(said(&seen)).into();
                let facts = Facts { polling_state: Some("FAILED".to_owned()), ..Facts::default() };
                let failed = Transition::Failed { code: ErrorCode::SwitchFailed, reason };
                StepOutcome::new(failed).with_facts(facts)
            }
            (_, Traffic::Shifting) => {
                let shift_seconds = rollout.shift_duration(&seen).await.map_err(&unanswered)?.as_secs();
                let (rollout, replaced) = (self.rollout.clone(), self.replaced);
                StepOutcome::next(ConfirmSwitch { rollout, shift_seconds, pause: Pause::default(), replaced })
            }
            (_, Traffic::NeverSent) => {
                let state = message!("reason.rollout_state", service, id, status = &seen.status);
                StepOutcome::poll(self.clone(), interval, self.finding(state))
            }
        })
    }
}

impl CheckRollout {
    fn finding(&self, finding: Message) -> Message {
        let refused = self.refused.as_ref().map(|refused| format!("; {refused}")).unwrap_or_default();
        message!("reason.not_on_green", finding, seen = &self.seen, refused)
    }
}
