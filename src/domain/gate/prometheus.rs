//! Answers of Prometheus' HTTP API (`/api/v1/query`), read as a single number.

use serde::Deserialize;
use serde_json::Value;

use super::{GateReading, PrometheusCheck};
use crate::domain::message::message;
use crate::domain::text;

/// Longest part of an error that is shown, in characters.
const MAX_ERROR: usize = 300;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// Reads the answer to a gate's query. Only a scalar, or a vector of one element, is a number; a vector without elements, and `NaN`, are no data.
pub fn read(check: &PrometheusCheck, body: &[u8]) -> GateReading {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return GateReading::Unreadable(message!("gate.prometheus_answer"));
    };
    let Some(data) = answer.data.filter(|_| answer.status == "success") else {
        let error = text::cut(&answer.error.unwrap_or(answer.status), MAX_ERROR);
        return GateReading::Unreadable(message!("gate.prometheus_error", error));
    };
    let sample = match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => sample,
        ("vector", Value::Array(series)) => match series.as_slice() {
            [] => return GateReading::NoData(message!("gate.no_series")),
            [one] => &one["value"],
            many => return GateReading::Unreadable(message!("gate.several_series", count = many.len())),
        },
        (kind, _) => return GateReading::Unreadable(message!("gate.no_number", kind)),
    };
    let Some(value) = sample.get(1).and_then(Value::as_str).and_then(|value| value.parse::<f64>().ok()) else {
        return GateReading::Unreadable(message!("gate.prometheus_answer"));
    };
    if value.is_nan() {
        return GateReading::NoData(message!("gate.not_a_number"));
    }
    let found = message!("gate.number", value = value.to_string(), bounds = check.bounds());
    // JSON has no infinity: the text has it.
    let shown = Some(value).filter(|value| value.is_finite());
    if check.accepts(value) { GateReading::Passed(shown, found) } else { GateReading::Failed(shown, found) }
}
