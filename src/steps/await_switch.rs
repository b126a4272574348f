//! Stage 4: waits for manual approval of the switch. The row is `DEPLOYMENT_READY` and has no owner; a switch request makes it claimable again.
//!
//! AWS may end the wait: at its deadline, by an alarm, or through its console. The watch (`background/watch`) notices that and requests a look,
//! which makes the row claimable as well. The step then asks AWS; calls that are denied or throttled change nothing.
//!
//! A rollout of ECS may wait several times. Each wait is a separate pause, and an approval is for one: the step knows the pause that it shows.

use std::time::Duration;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use super::follow_execution::output_invalid;
use super::rollout::{
    about, expired, is_ours, other_image, said, seen_pause, stayed_on_blue, switch_expired, was_sent, with_until,
};
use super::verify_green::awaiting;
use super::watch_traffic::{completed, rolled_back};
use super::{
    CheckGates, ConfirmSwitch, RunStep, Settings, StepContext, StepError, StepOutcome, SwitchTraffic, Transition,
    is_default,
};
use crate::clients::aws::Observed;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::failure::ErrorCode;
use crate::domain::gate::GatePoint;
use crate::domain::message::message;
use crate::domain::rollout::{Pause, RolloutId, Standing, Traffic};

/// State of a deployment that awaits approval.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AwaitSwitch {
    /// Rollout, for the later switch.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
    /// Pause that awaits approval, once it was seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pause: Pause,
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
        if cx.deployment.switch_requested {
            let request = cx.deployment.switch_audit_id.unwrap_or_default();
            if cx.deployment.gates.is_some() {
                let sent = was_sent(&cx.deployment.facts);
                let at = if sent { GatePoint::EachStep } else { GatePoint::BeforeSwitch };
                return Ok(StepOutcome::next(CheckGates::of_switch(cx, self.clone(), at, request)).without_answer());
            }
            let Self { rollout, pause, replaced } = self.clone();
            return Ok(StepOutcome::next(SwitchTraffic { rollout, pause, replaced, request }).without_answer());
        }
        let seen = match cx.user.rollout(&self.rollout).poll().await {
            Ok(seen) => seen,
            Err(error) if error.kind == ErrorKind::NotFound => {
                let (account, id) = (&cx.deployment.account_id, self.rollout.as_str());
                let reason = message!("reason.rollout_gone", account, service = self.rollout.service(), id);
                return Ok(stayed_on_blue(ErrorCode::StoppedWhileReady, reason));
            }
            Err(error) => return self.unread(error),
        };
        match self.look(cx, &seen).await {
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

    async fn look(&self, cx: &StepContext<'_>, seen: &Observed) -> Result<StepOutcome, ClientError> {
        match &seen.standing {
            Standing::Waiting(pause) => self.waits(cx, seen, pause).await,
            Standing::Pending => Ok(self.still()),
            Standing::Succeeded if !is_ours(cx, seen).await? => Ok(output_invalid(other_image(cx, seen))),
            Standing::Succeeded => Ok(self.continued(completed(Some(seen)))),
            Standing::Ended => self.ended(cx, seen).await,
            Standing::Active | Standing::Unknown => {
                let rollout = cx.user.rollout(&self.rollout);
                if rollout.traffic(seen, was_sent(&cx.deployment.facts)).await?.at == Traffic::NeverSent {
                    return Ok(self.still());
                }
                if !is_ours(cx, seen).await? {
                    return Ok(output_invalid(other_image(cx, seen)));
                }
                let shift_seconds = rollout.shift_duration(seen).await?.as_secs();
                let Self { rollout, pause, replaced } = self.clone();
                Ok(self.continued(StepOutcome::next(ConfirmSwitch { rollout, shift_seconds, pause, replaced })))
            }
        }
    }

    /// Learns pause and deadline, if they were not known when the deployment became ready, or are new because the earlier wait was ended at AWS.
    async fn waits(&self, cx: &StepContext<'_>, seen: &Observed, pause: &Pause) -> Result<StepOutcome, ClientError> {
        let same = self.pause.is(pause);
        if same && (cx.deployment.facts.ready_until.is_some() || !seen.has_deadline) {
            return Ok(self.still());
        }
        let until = cx.user.rollout(&self.rollout).deadline(seen, Utc::now()).await?;
        let known = Self { pause: pause.clone(), ..self.clone() };
        let outcome =
            if same || self.pause == Pause::default() { known.still() } else { self.continued(known.again(cx)) };
        let outcome = outcome.with_facts(seen_pause(cx, seen, pause).await?);
        Ok(match until {
            Some(until) => with_until(outcome, until),
            None => outcome,
        })
    }

    /// Requests approval of a further pause. An approval that was given is for an earlier one.
    pub(super) fn again(self, cx: &StepContext<'_>) -> StepOutcome {
        let occurrence = self.pause.occurrence().unwrap_or_default();
        let event = awaiting(&cx.deployment.facts, &cx.deployment.id).keyed(occurrence);
        let until = self.pause.until;
        let outcome = StepOutcome::new(Transition::Ready(self.into())).with_event(event);
        match until {
            Some(until) => with_until(outcome, until),
            None => outcome,
        }
    }

    /// The wait was ended at AWS, not by an approval.
    fn continued(&self, mut outcome: StepOutcome) -> StepOutcome {
        let mut event = about(EventCode::ContinuedOutside, &self.rollout);
        if let Some(occurrence) = self.pause.occurrence() {
            event = event.keyed(occurrence);
        }
        outcome.events.insert(0, event);
        outcome
    }

    /// AWS has ended the rollout: without the traffic on green, or after it was there.
    async fn ended(&self, cx: &StepContext<'_>, seen: &Observed) -> Result<StepOutcome, ClientError> {
        let said = said(seen);
        let traffic = cx.user.rollout(&self.rollout).traffic(seen, was_sent(&cx.deployment.facts)).await?;
        Ok(match traffic.at {
            Traffic::MovingBack | Traffic::Shifting => self.still(),
            Traffic::Green => self.continued(completed(Some(seen))),
            // After a part of the traffic was approved, its way back needs no explanation beside AWS's own.
            Traffic::Blue if self.pause.hook.is_some() => rolled_back(said),
            Traffic::Blue => self.continued(rolled_back(said)),
            Traffic::NeverSent => match expired(cx, seen) {
                Some(until) => switch_expired(until, said),
                None => stayed_on_blue(ErrorCode::StoppedWhileReady, said),
            },
        })
    }
}
