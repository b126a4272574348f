//! Readings of gates: the gates that an attempt copied, one measurement of a gate, and the alarms that block a start.

use url::Url;

use super::{StepContext, StepError, StepOutcome, Transition};
use crate::clients::gates;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::gate::{Gate, GateCheck, GatePoint, GateReading};
use crate::domain::message::{Message, message};

/// Reads the gates that the attempt copied.
pub(super) fn gates_of(cx: &StepContext<'_>) -> Result<Vec<Gate>, Message> {
    let Some(stored) = &cx.deployment.gates else { return Ok(Vec::new()) };
    serde_json::from_str(stored).map_err(|error| message!("gate.unreadable_policy", error = error.to_string()))
}

/// Measures a gate once, by reading.
pub(super) async fn read(cx: &StepContext<'_>, gate: &Gate, at: GatePoint) -> Result<GateReading, StepError> {
    let secrets = &cx.github.build_secrets;
    match &gate.check {
        GateCheck::Alarm(check) => {
            let place = (cx.deployment.account_id.as_str(), cx.deployment.region.as_str());
            let read = gates::alarm(&cx.user.alarms, check, place).await;
            read.map_err(StepError::from_client(ErrorCode::GateFailed))
        }
        GateCheck::Prometheus(check) => Ok(cx.services.gates.prometheus(check, secrets).await),
        GateCheck::Http(check) => {
            let facts = &cx.deployment.facts;
            let green = at == GatePoint::BeforeSwitch;
            let url = if green { facts.green_url.as_ref() } else { facts.blue_url.as_ref() };
            let Some(url) = url.and_then(|url| Url::parse(url).ok()) else {
                return Ok(GateReading::Unreadable(message!("gate.no_url")));
            };
            Ok(cx.services.gates.http(check, &url, secrets).await)
        }
    }
}

/// Ends an attempt at its beginning if an alarm of its policy is in ALARM, unless an approver overrode that. An alarm that cannot be read does not block:
/// nothing moves before its gate.
pub(super) async fn blocked(cx: &StepContext<'_>) -> Result<Option<StepOutcome>, StepError> {
    let Ok(gates) = gates_of(cx) else { return Ok(None) };
    for gate in &gates {
        let GateCheck::Alarm(check) = &gate.check else { continue };
        let GateReading::Failed(_, why) = read(cx, gate, gate.at).await? else { continue };
        if let Some(overridden) = &cx.deployment.start_override {
            let event = Event::new(EventCode::GatesOverridden).with("stage", 1);
            let event = event.with("by", overridden.by.as_str()).with("override", overridden.reason.as_str());
            cx.reporter.emit(event.keyed("start")).await;
            return Ok(None);
        }
        let reason = message!("gate.alarm_at_start", gate = &gate.name, alarm = &check.name, why);
        let failed = Transition::Failed { code: ErrorCode::GateFailed, reason: reason.into() };
        return Ok(Some(StepOutcome::new(failed)));
    }
    Ok(None)
}
