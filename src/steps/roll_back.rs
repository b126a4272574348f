//! Rolls a switched deployment back at AWS: stops its CodeDeploy deployment with a rollback, which sends the traffic to blue again.
//!
//! The row is COMPLETED until the traffic was seen on blue; then it is FAILED with `ROLLED_BACK_AFTER_SWITCH`, the only way from COMPLETED. CodeDeploy is
//! checked before the stop, and the stop changes nothing when repeated. A rollback that is not possible ends the request, never the deployment: it stays
//! COMPLETED, and an event has the reason.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::rollout::{Traffic, said, traffic_after};
use super::watch_traffic::{WatchTraffic, blue_terminated, rolled_back};
use super::{RunStep, Settings, Step, StepContext, StepError, StepOutcome, Transition, is_default};
use crate::clients::aws::{CodeDeployStatus, CodeDeployment, Priority};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Facts, RequestedRollback};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::reason::Reason;

/// Polls of a stopped deployment whose traffic is still on green, after which no rollback is expected any more: CodeDeploy starts it separately.
const LOOKS_AFTER_STOP: u32 = 15;

/// State of a rollback at AWS.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RollBack {
    /// `d-…`, the deployment that moved the traffic to green.
    pub code_deploy_deployment_id: String,
    /// Audit row of the request: keys the events, because a request may follow one that failed.
    pub request: i64,
    /// Subject of the caller that requested it; none while authentication is off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: Option<String>,
    /// Set once the stop was decided, before the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stopping: bool,
    /// Polls since CodeDeploy's deployment ended with the traffic on green.
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
        let id = &self.code_deploy_deployment_id;
        let deployment = match cx.user.codedeploy.deployment(id).await {
            Ok(deployment) => deployment,
            Err(error) if error.kind == ErrorKind::NotFound => {
                let account = &cx.deployment.account_id;
                return Ok(self.abandoned(&message!("reason.code_deploy_gone", account, id).into(), None));
            }
            Err(error) => return self.refused(error),
        };
        match deployment.status {
            CodeDeployStatus::Succeeded => Ok(self.too_late(&deployment)),
            CodeDeployStatus::Failed | CodeDeployStatus::Stopped => match traffic_after(cx, &deployment).await {
                Ok(traffic) => Ok(self.ended(cx, &deployment, traffic)),
                Err(error) => self.refused(error),
            },
            _ if !self.stopping => {
                let stopping = Self { stopping: true, ..self.clone() };
                let waits = StepOutcome::wait(stopping, Duration::ZERO, "CodeDeploy is being stopped");
                Ok(waits.with_event(self.started()))
            }
            _ => match cx.user.codedeploy.stop_deployment(id, true).await {
                Ok(()) => Ok(self.returning(cx)),
                // The deployment ended between the check and the call; the next check reports how.
                Err(error) if error.kind == ErrorKind::Conflict => Ok(self.again(cx)),
                Err(error) => self.refused(error),
            },
        }
    }
}

impl RollBack {
    /// Begins the rollback that was `requested`.
    pub(super) fn begin(code_deploy_deployment_id: &str, requested: &RequestedRollback) -> Self {
        let code_deploy_deployment_id = code_deploy_deployment_id.to_owned();
        let by = requested.by.clone();
        Self { code_deploy_deployment_id, request: requested.audit_id, by, stopping: false, looks: 0 }
    }

    fn event(&self, code: EventCode) -> Event {
        Event::new(code).with("code_deploy_deployment_id", self.code_deploy_deployment_id.as_str()).keyed(self.request)
    }

    fn started(&self) -> Event {
        self.event(EventCode::RollbackStarted).with("by", self.caller())
    }

    fn caller(&self) -> &str {
        self.by.as_deref().unwrap_or("—")
    }

    fn watch(&self) -> Step {
        let code_deploy_deployment_id = self.code_deploy_deployment_id.clone();
        WatchTraffic { code_deploy_deployment_id, looks_after_end: 0 }.into()
    }

    fn again(&self, cx: &StepContext<'_>) -> StepOutcome {
        let interval = cx.services.settings.poll_interval;
        StepOutcome::wait(self.clone(), interval, "CodeDeploy is taking the traffic back to blue")
    }

    fn returning(&self, cx: &StepContext<'_>) -> StepOutcome {
        let waits = self.again(cx);
        let known = cx.deployment.waiting_for.as_deref() == Some("CodeDeploy is taking the traffic back to blue");
        if known { waits } else { waits.with_event(self.event(EventCode::RollbackReturning)) }
    }

    /// CodeDeploy's deployment has ended: by this step's stop, or by others.
    fn ended(&self, cx: &StepContext<'_>, deployment: &CodeDeployment, traffic: Option<Traffic>) -> StepOutcome {
        match traffic {
            Some(Traffic::Blue) => self.restored(),
            Some(Traffic::MovingBack) => self.returning(cx),
            // It was seen on green before: a life cycle without that proves nothing.
            Some(Traffic::Green) | None if self.looks < LOOKS_AFTER_STOP => {
                Self { looks: self.looks + 1, ..self.clone() }.again(cx)
            }
            Some(Traffic::Green) | None => self.abandoned(&said(deployment).into(), None),
        }
    }

    /// Has all events: after a crash, or an end that others caused, the first ones are not stored yet.
    fn restored(&self) -> StepOutcome {
        let at = Utc::now();
        let reason =
            message!("reason.rolled_back_on_request", by = self.caller(), id = &self.code_deploy_deployment_id);
        let restored = self.event(EventCode::RollbackCompleted);
        rolled_back(reason)
            .with_event(self.started())
            .with_event(self.event(EventCode::RollbackReturning))
            .with_event(restored.with("restored_at", at.to_rfc3339_opts(SecondsFormat::Millis, true)))
            .with_facts(Facts { restored_at: Some(at), ..Facts::default() })
    }

    /// AWS ended the deployment before the stop: nothing can take the traffic back any more.
    fn too_late(&self, deployment: &CodeDeployment) -> StepOutcome {
        StepOutcome::new(Transition::Completed(None))
            .with_event(self.started())
            .with_event(self.event(EventCode::RollbackTooLate))
            .with_facts(blue_terminated(deployment))
    }

    /// Ends the request. The deployment stays COMPLETED, and `watch` resumes if AWS may still change it.
    fn abandoned(&self, reason: &Reason, watch: Option<Step>) -> StepOutcome {
        let failed = self.event(EventCode::RollbackFailed).because(reason);
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
