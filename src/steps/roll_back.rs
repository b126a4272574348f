//! Rolls a switched deployment back at AWS: stops its rollout, which sends the traffic to blue again.
//!
//! The row is COMPLETED until the traffic was seen on blue; then it is FAILED with `ROLLED_BACK_AFTER_SWITCH`, the only way from COMPLETED. The rollout is
//! checked before the stop, and the stop changes nothing when repeated. A rollback that is not possible ends the request, never the deployment: it stays
//! COMPLETED, and an event has the reason.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::rollout::{about, moving_back, said};
use super::watch_traffic::{WatchTraffic, blue_terminated, rolled_back};
use super::{RunStep, Settings, Step, StepContext, StepError, StepOutcome, Transition, is_default};
use crate::clients::aws::{Observed, Priority};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Facts, RequestedRollback};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::rollout::{RolloutId, Standing, Traffic};

/// Polls of a stopped deployment whose traffic is still on green, after which no rollback is expected any more: CodeDeploy starts it
/// separately.
const LOOKS_AFTER_STOP: u32 = 15;

/// State of a rollback at AWS.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RollBack {
    /// Rollout that moved the traffic to green.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
    /// Audit row of the request: keys the events, because a request may follow one that failed.
    pub request: i64,
    /// Subject of the caller that requested it; none while authentication is off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: Option<String>,
    /// Set once the stop was decided, before the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stopping: bool,
    /// Polls since the rollout ended with the traffic on green.
    #[serde(default, skip_serializing_if = "is_default")]
    pub looks: u32,
}

impl RunStep for RollBack {
    const NAME: &'static str = "roll_back";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Urgent;
    const REPORTED: (&'static str, Option<&'static str>) = ("Rollback", None);

    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit
    }

    /// The watch resumes: it sees a rollback that ends later.
    fn after_limit(&self, _last_error: Option<ErrorCode>) -> Option<StepOutcome> {
        Some(self.abandoned(&message!("reason.rollback_unconfirmed").into(), Some(self.watch())))
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let rollout = cx.user.rollout(&self.rollout);
        let seen = match rollout.observe().await {
            Ok(seen) => seen,
            Err(error) if error.kind == ErrorKind::NotFound => {
                let (account, service, id) = (&cx.deployment.account_id, self.rollout.service(), self.rollout.as_str());
                return Ok(self.abandoned(&message!("reason.rollout_gone", account, service, id).into(), None));
            }
            Err(error) => return self.refused(error),
        };
        match seen.standing {
            Standing::Succeeded => Ok(self.too_late(&seen)),
            Standing::Ended => match rollout.traffic(&seen, true).await {
                Ok(traffic) => Ok(self.ended(cx, &seen, traffic.at)),
                Err(error) => self.refused(error),
            },
            _ if !self.stopping => {
                let stopping = Self { stopping: true, ..self.clone() };
                let why = message!("wait.rollout_stopping", service = self.rollout.service());
                Ok(StepOutcome::wait(stopping, Duration::ZERO, why).with_event(self.started()))
            }
            _ => match rollout.roll_back(Some(&seen)).await {
                Ok(()) => Ok(self.returning(cx)),
                // The rollout ended between the check and the call; the next check reports how.
                Err(error) if error.kind == ErrorKind::Conflict => Ok(self.again(cx)),
                Err(error) => self.refused(error),
            },
        }
    }
}

impl RollBack {
    /// Begins the rollback that was `requested`.
    pub(super) fn begin(rollout: &RolloutId, requested: &RequestedRollback) -> Self {
        let (rollout, by) = (rollout.clone(), requested.by.clone());
        Self { rollout, request: requested.audit_id, by, stopping: false, looks: 0 }
    }

    fn event(&self, code: EventCode) -> Event {
        about(code, &self.rollout).keyed(self.request)
    }

    fn started(&self) -> Event {
        self.event(EventCode::RollbackStarted).with("by", self.caller())
    }

    fn caller(&self) -> &str {
        self.by.as_deref().unwrap_or("—")
    }

    fn watch(&self) -> Step {
        WatchTraffic { rollout: self.rollout.clone(), looks_after_end: 0 }.into()
    }

    fn again(&self, cx: &StepContext<'_>) -> StepOutcome {
        StepOutcome::wait(self.clone(), cx.services.settings.poll_interval, moving_back(&self.rollout))
    }

    fn returning(&self, cx: &StepContext<'_>) -> StepOutcome {
        let waits = self.again(cx);
        let known = cx.deployment.waits_for(&moving_back(&self.rollout).into());
        if known { waits } else { waits.with_event(self.returning_event()) }
    }

    fn returning_event(&self) -> Event {
        self.event(EventCode::RollbackReturning).with("service", self.rollout.service())
    }

    /// The rollout has ended: by this step's stop, or by others.
    fn ended(&self, cx: &StepContext<'_>, seen: &Observed, traffic: Traffic) -> StepOutcome {
        match traffic {
            Traffic::Blue => self.restored(),
            Traffic::MovingBack | Traffic::Shifting => self.returning(cx),
            // It was seen on green before: a life cycle without that proves nothing.
            Traffic::Green | Traffic::NeverSent if self.looks < LOOKS_AFTER_STOP => {
                Self { looks: self.looks + 1, ..self.clone() }.again(cx)
            }
            Traffic::Green | Traffic::NeverSent => self.abandoned(&said(seen).into(), None),
        }
    }

    /// Has all events: after a crash, or an end that others caused, the first ones are not stored yet.
    fn restored(&self) -> StepOutcome {
        let at = Utc::now();
        let (service, id) = (self.rollout.service(), self.rollout.as_str());
        let reason = message!("reason.rolled_back_on_request", by = self.caller(), service, id);
        let restored = self.event(EventCode::RollbackCompleted);
        rolled_back(reason)
            .with_event(self.started())
            .with_event(self.returning_event())
            .with_event(restored.with("restored_at", at.to_rfc3339_opts(SecondsFormat::Millis, true)))
            .with_facts(Facts { restored_at: Some(at), ..Facts::default() })
    }

    /// AWS ended the rollout before the stop: nothing can take the traffic back any more.
    fn too_late(&self, seen: &Observed) -> StepOutcome {
        StepOutcome::new(Transition::Completed(None))
            .with_event(self.started())
            .with_event(self.event(EventCode::RollbackTooLate))
            .with_facts(blue_terminated(seen))
    }

    /// Ends the request. The deployment stays COMPLETED, and `watch` resumes if AWS may still change it.
    fn abandoned(&self, reason: &Reason, watch: Option<Step>) -> StepOutcome {
        let failed = self.event(EventCode::RollbackFailed).with("service", self.rollout.service()).because(reason);
        StepOutcome::new(Transition::Completed(watch)).with_event(self.started()).with_event(failed)
    }

    /// Retries what may succeed soon, and reports anything else to the caller, who can act on it and request the rollback again.
    fn refused(&self, error: ClientError) -> Result<StepOutcome, StepError> {
        match error.kind {
            ErrorKind::Throttled | ErrorKind::Unavailable => {
                Err(StepError::from_client(ErrorCode::SwitchFailed)(error))
            }
            _ => Ok(self.abandoned(&error.to_string().into(), Some(self.watch()))),
        }
    }
}
