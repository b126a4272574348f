//! Events of the step `check_gates`, keyed by point, request and gate, so that each is emitted once.

use super::CheckGates;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::gate::{Gate, Measurement};
use crate::domain::message::Message;

impl CheckGates {
    /// Returns the names of the open gates, joined by commas.
    pub(super) fn names(&self) -> String {
        self.open.iter().map(|progress| progress.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the key of an event `of` a gate, or `-`, at this point.
    pub(super) fn occurrence(&self, of: &str) -> String {
        format!("{}:{}:{of}", self.at, self.request)
    }

    /// Creates an event about a gate at this point.
    pub(super) fn about_gate(&self, code: EventCode, gate: &Gate) -> Event {
        let event = Event::new(code).with("gate", gate.name.as_str()).with("at", self.at.to_string());
        event.keyed(self.occurrence(&gate.name))
    }

    /// Creates the event of a measurement.
    pub(super) fn measured(&self, gate: &Gate, measured: Measurement) -> Event {
        let Measurement { number, result, value, found } = measured;
        let event = self.about_gate(EventCode::GateMeasured, gate).because(&found.into());
        let event = event.with("number", number).with("result", result).with("value", value);
        event.keyed(self.occurrence(&format!("{}:{number}", gate.name)))
    }

    /// Creates the event of a gate that did not pass.
    pub(super) fn not_passed(&self, gate: &Gate, reason: Message) -> Event {
        let event = self.about_gate(EventCode::GateNotPassed, gate).because(&reason.into());
        event.with("on_fail", gate.on_fail.to_string())
    }
}
