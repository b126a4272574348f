//! The gates of an attempt: what each found so far, as a small chart, and its end.

use crate::db::deployments::DeploymentView;
use crate::db::gates::GateEvent;
use crate::http::ApiState;
use crate::http::error::ApiError;

/// Most measurements of one chart, the newest ones.
const MAX_BARS: usize = 60;

/// Height of a chart in pixels, and width of a bar with its gap.
const HEIGHT: f64 = 24.0;
const STEP: f64 = 6.0;

/// A gate that has measured.
pub struct GateRow {
    pub name: String,
    /// When it runs: `before_switch`, `each_step` or `bake`.
    pub point: String,
    /// `open`, `passed` or `not_passed`.
    pub state: &'static str,
    pub bars: Vec<GateBar>,
    /// Number of measurements, and of those that passed.
    pub measured: usize,
    pub passed: usize,
    /// What the last measurement found, or why the gate did not pass.
    pub last: String,
}

/// One measurement of a chart.
pub struct GateBar {
    /// `passed`, `failed`, `no_data` or `unreadable`.
    pub result: String,
    pub x: f64,
    pub y: f64,
    pub height: f64,
    pub tip: String,
}

impl GateRow {
    /// Width of the chart.
    pub fn width(&self) -> f64 {
        self.bars.last().map_or(0.0, |bar| bar.x + STEP)
    }

    /// Height of the chart.
    pub fn height() -> f64 {
        HEIGHT
    }
}

/// Reads the gates, in the order in which they measured first.
///
/// # Errors
/// The database failed.
pub async fn rows(state: &ApiState, row: &DeploymentView) -> Result<Vec<GateRow>, ApiError> {
    let has_gates = row.policy.as_ref().is_some_and(|policy| !policy.0.gates.is_empty());
    let events = if has_gates { state.db.gate_events(&row.id, row.attempt).await? } else { Vec::new() };
    let mut names: Vec<(&str, &str)> = Vec::new();
    for event in &events {
        let name = (event.gate.as_str(), event.point.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names.into_iter().map(|name| of_gate(name, &events)).collect())
}

fn of_gate((name, point): (&str, &str), events: &[GateEvent]) -> GateRow {
    let own: Vec<&GateEvent> = events.iter().filter(|event| event.gate == name && event.point == point).collect();
    let measured: Vec<&GateEvent> = own.iter().copied().filter(|event| event.result.is_some()).collect();
    let last = own.last();
    let state = match last.map(|event| event.code.as_str()) {
        Some("gate_passed") => "passed",
        Some("gate_not_passed") => "not_passed",
        _ => "open",
    };
    let found = own.iter().rev().find_map(|event| event.found.clone());
    GateRow {
        name: name.to_owned(),
        point: point.to_owned(),
        state,
        bars: bars(&measured[measured.len().saturating_sub(MAX_BARS)..]),
        passed: measured.iter().filter(|event| event.result.as_deref() == Some("passed")).count(),
        measured: measured.len(),
        last: found.unwrap_or_default(),
    }
}

/// Bars in proportion to their values; full ones where there is no number.
fn bars(measured: &[&GateEvent]) -> Vec<GateBar> {
    let largest = measured.iter().filter_map(|event| event.value).map(f64::abs).fold(0.0, f64::max);
    let bar = |(index, event): (usize, &&GateEvent)| {
        let share = event.value.filter(|_| largest > 0.0).map_or(1.0, |value| value.abs() / largest);
        // A value of zero is still a measurement.
        let height = (share * HEIGHT).max(2.0);
        #[expect(clippy::cast_precision_loss, reason = "at most 60")]
        let x = index as f64 * STEP;
        let tip = event.found.clone().unwrap_or_default();
        GateBar { result: event.result.clone().unwrap_or_default(), x, y: HEIGHT - height, height, tip }
    };
    measured.iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: &str, result: Option<&str>, value: Option<f64>) -> GateEvent {
        let (gate, point) = ("errors".to_owned(), "bake".to_owned());
        let (code, result, at) = (code.to_owned(), result.map(str::to_owned), chrono::DateTime::UNIX_EPOCH);
        GateEvent { code, gate, point, result, value, found: Some("found".to_owned()), at }
    }

    #[test]
    fn bars_are_in_proportion_and_never_empty() {
        let events = [
            event("gate_measured", Some("passed"), Some(0.0)),
            event("gate_measured", Some("passed"), Some(2.0)),
            event("gate_measured", Some("failed"), Some(4.0)),
            event("gate_measured", Some("no_data"), None),
            event("gate_not_passed", None, None),
        ];
        let row = of_gate(("errors", "bake"), &events);
        let heights: Vec<f64> = row.bars.iter().map(|bar| bar.height).collect();
        assert_eq!(heights, [2.0, 12.0, 24.0, 24.0]);
        assert_eq!((row.state, row.measured, row.passed), ("not_passed", 4, 2));
        assert!((row.width() - 24.0).abs() < f64::EPSILON);
    }
}
