//! Progress of a gate: which measurement is due, and when the gate has passed or failed.

use serde::{Deserialize, Serialize};

use super::{Gate, NoData};
use crate::domain::message::{Message, message};

/// Result of one measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum GateReading {
    /// Within the gate's bounds; with a number where the check has one.
    Passed(Option<f64>, Message),
    /// Outside of the bounds.
    Failed(Option<f64>, Message),
    /// The service answered, and has no data.
    NoData(Message),
    /// Nothing is known: no answer, a denial, or an answer that is no single number. It counts neither way, whatever the gate says about missing data.
    Unreadable(Message),
}

/// A measurement that counts in a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Its number in the gate's run, from 1.
    pub number: u32,
    /// `passed`, `failed`, `no_data` or `unreadable`.
    pub result: &'static str,
    /// The number that was measured, where there is one.
    pub value: Option<f64>,
    /// Description of the result for people.
    pub found: Message,
}

/// State of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// More measurements are needed.
    Open,
    /// Enough of the measurements passed.
    Passed,
    /// Too many measurements failed.
    Failed,
}

/// A gate's measurements so far, as the step stores them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateProgress {
    /// Name of the gate.
    pub name: String,
    /// Number of measurements so far.
    #[serde(default)]
    pub measured: u32,
    /// Number of those that passed.
    #[serde(default)]
    pub passed: u32,
    /// Number of those that failed.
    #[serde(default)]
    pub failed: u32,
    /// Time until the next one, in milliseconds. It counts down with the waits of the step, so that no clock decides.
    #[serde(default)]
    pub wait_ms: u64,
}

impl GateProgress {
    /// Begins a gate, whose first measurement is due.
    pub fn new(gate: &Gate) -> Self {
        Self { name: gate.name.clone(), measured: 0, passed: 0, failed: 0, wait_ms: 0 }
    }

    /// Lets the next measurement be due after one interval.
    #[must_use]
    pub fn after_interval(self, gate: &Gate) -> Self {
        Self { wait_ms: u64::from(gate.every) * 1_000, ..self }
    }

    /// Adds a reading to the counts, and sets the next measurement.
    pub fn count(&mut self, gate: &Gate, reading: GateReading) -> Measurement {
        self.measured += 1;
        self.wait_ms = u64::from(gate.every) * 1_000;
        let (result, value, found) = match reading {
            GateReading::Passed(value, found) => ("passed", value, found),
            GateReading::Failed(value, found) => ("failed", value, found),
            GateReading::NoData(found) => ("no_data", None, found),
            GateReading::Unreadable(found) => ("unreadable", None, found),
        };
        match (result, gate.no_data) {
            ("passed", _) | ("no_data", NoData::Pass) => self.passed += 1,
            ("failed", _) | ("no_data", NoData::Fail) => self.failed += 1,
            _ => {}
        }
        Measurement { number: self.measured, result, value, found }
    }

    /// Decides the gate. Failures decide first.
    pub fn verdict(&self, gate: &Gate) -> GateVerdict {
        if self.failed >= gate.failures {
            GateVerdict::Failed
        } else if self.passed >= gate.times {
            GateVerdict::Passed
        } else {
            GateVerdict::Open
        }
    }

    /// Reports that a measurement is due.
    pub fn is_due(&self) -> bool {
        self.wait_ms == 0
    }

    /// Describes the progress, such as `errors (2 of 3)`.
    pub fn summary(&self, gate: &Gate) -> String {
        format!("{} ({} of {})", self.name, self.passed, gate.times)
    }
}

/// The reason of a gate that did not pass.
pub fn not_passed(gate: &Gate, progress: &GateProgress, last: &Message) -> Message {
    let GateProgress { measured, failed, .. } = progress;
    message!("gate.failed", gate = &gate.name, failed = *failed, measured = *measured, last = last.clone())
}
