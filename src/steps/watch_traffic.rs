//! After the switch: watches that the traffic stays on green, until AWS can no longer take it back.
//!
//! The row is COMPLETED and has no owner. The watch (`background/watch`) notices that the rollout has ended and requests a look, which
//! makes the row claimable; so does a request to roll back, for which the step `roll_back` takes over. Success means that blue was terminated. After a failed hook, an alarm or a stop the traffic may be back on blue: the only
//! way from COMPLETED to FAILED. Calls that are denied or throttled change nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rollout::{said, stayed_on_blue};
use super::{RollBack, RunStep, Settings, StepContext, StepError, StepOutcome, Transition, is_default};
use crate::clients::aws::Observed;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::Message;
use crate::domain::rollout::{RolloutId, Standing, Traffic};

/// Number of looks at an ended deployment whose traffic is on green, after which no rollback is expected any more: CodeDeploy starts it separately.
pub(super) const LOOKS_AFTER_END: u32 = 3;

/// State of a deployment whose traffic is on green.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct WatchTraffic {
    /// Rollout that moved the traffic.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
    /// Looks since it failed or was stopped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub looks_after_end: u32,
}

impl RunStep for WatchTraffic {
    const NAME: &'static str = "watch_traffic";
    const STAGE: u8 = 4;

    /// The watch ends with CodeDeploy's deployment; the background task ends one that lasts longer than AWS permits.
    fn limit(_: &Settings) -> Duration {
        Duration::MAX
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        if let Some(requested) = &cx.deployment.rollback {
            return Ok(StepOutcome::next(RollBack::begin(&self.rollout, requested)).without_answer());
        }
        let seen = match cx.user.rollout(&self.rollout).poll().await {
            Ok(seen) => seen,
            Err(error) if error.kind == ErrorKind::NotFound => {
                tracing::info!("rollout removed at AWS, no longer watching the traffic");
                return Ok(StepOutcome::new(Transition::Completed(None)));
            }
            Err(error) => return Ok(self.unread(&error)),
        };
        match seen.standing {
            Standing::Succeeded => Ok(StepOutcome::new(Transition::Completed(None)).with_facts(blue_terminated(&seen))),
            Standing::Ended => Ok(self.ended(cx, &seen).await.unwrap_or_else(|error| self.unread(&error))),
            _ => Ok(self.still()),
        }
    }
}

impl WatchTraffic {
    fn still(&self) -> StepOutcome {
        StepOutcome::new(Transition::Completed(Some(self.clone().into())))
    }

    /// Waits for the next look: neither a denial nor throttling says anything about the traffic.
    fn unread(&self, error: &ClientError) -> StepOutcome {
        tracing::info!(kind = ?error.kind, call = error.call, "switched deployment not readable, looking again later");
        self.still()
    }

    async fn ended(&self, cx: &StepContext<'_>, seen: &Observed) -> Result<StepOutcome, ClientError> {
        let reason = said(seen);
        match cx.user.rollout(&self.rollout).traffic(seen, true).await?.at {
            Traffic::MovingBack | Traffic::Shifting => Ok(self.still()),
            Traffic::Blue => Ok(rolled_back(reason)),
            Traffic::Green if self.looks_after_end + 1 < LOOKS_AFTER_END => {
                Ok(Self { looks_after_end: self.looks_after_end + 1, ..self.clone() }.still())
            }
            // It was seen on green: a life cycle that does not say so any more proves nothing.
            Traffic::Green | Traffic::NeverSent => {
                let kept = Event::new(EventCode::KeptOnGreen).because(&reason.into());
                Ok(StepOutcome::new(Transition::Completed(None)).with_event(kept))
            }
        }
    }
}

/// Completes the deployment: the traffic is on green. `seen` is the rollout, which can take the traffic back until it has succeeded; none if no rollout is
/// known.
pub(super) fn completed(seen: Option<&Observed>) -> StepOutcome {
    let (watch, facts) = match seen {
        None => (None, Facts::default()),
        Some(seen) if seen.standing == Standing::Succeeded => (None, blue_terminated(seen)),
        Some(seen) => (Some(WatchTraffic { rollout: seen.id.clone(), looks_after_end: 0 }.into()), Facts::default()),
    };
    StepOutcome::new(Transition::Completed(watch))
        .with_event(Event::new(EventCode::DeploymentCompleted))
        .with_event(Event::new(EventCode::Completed))
        .with_facts(Facts { final_service: Some("green".to_owned()), ..facts })
}

/// Fails the deployment: its traffic was on green, and is on blue again.
pub(super) fn rolled_back(reason: Message) -> StepOutcome {
    stayed_on_blue(ErrorCode::RolledBackAfterSwitch, reason)
}

/// A rollout succeeds after its termination wait or bake time, when AWS has terminated blue.
pub(super) fn blue_terminated(seen: &Observed) -> Facts {
    Facts { blue_terminated_at: seen.ended_at.filter(|_| !seen.keeps_blue), ..Facts::default() }
}
