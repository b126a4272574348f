//! Gates: conditions of a policy that decide whether the traffic may move, or stays on green. A gate measures a CloudWatch alarm, a Prometheus query or
//! an HTTP address several times, and passes or fails by the number of measurements.

mod progress;
pub mod prometheus;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

pub use progress::{GateProgress, GateReading, GateVerdict, Measurement, not_passed};

use super::build_spec;
use super::health_check::{self, StatusCodes};
use super::message::{Message, message};
use super::validate::{BrokenRule, FieldRefusal};

/// Maximum number of gates of a policy.
pub const MAX_GATES: usize = 10;

/// Shortest and longest time between two measurements of a gate, in seconds.
pub const EVERY: std::ops::RangeInclusive<u32> = 5..=3_600;

/// Largest number of measurements that must pass, and of those that fail a gate.
pub const MAX_COUNT: u32 = 1_000;

/// Longest time in which a gate may measure, in seconds: a week.
pub const MAX_SECONDS: u32 = 7 * 24 * 3_600;

/// Longest name of a gate, in bytes.
const MAX_NAME: usize = 40;

/// Longest query, and longest text that an answer must contain, in characters.
const MAX_TEXT: usize = 2_000;

/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 10;

/// When a gate runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case", parse_err_ty = Message, parse_err_fn = unknown_point)]
pub enum GatePoint {
    /// After the approval, before any traffic moves to green.
    BeforeSwitch,
    /// Before each further part of the traffic: rollouts of ECS with pauses only.
    EachStep,
    /// While all traffic is on green, and blue can still take it back.
    Bake,
}

/// Meaning of a measurement without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case", parse_err_ty = Message, parse_err_fn = unknown_no_data)]
pub enum NoData {
    /// Neither: the gate measures again.
    #[default]
    Wait,
    /// As a measurement within bounds.
    Pass,
    /// As a measurement out of bounds.
    Fail,
}

/// Effect of a failed gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case", parse_err_ty = Message, parse_err_fn = unknown_on_fail)]
pub enum OnFail {
    /// The rollout is stopped, and its traffic returns to blue.
    #[default]
    Rollback,
    /// The switch is refused; the deployment awaits another request.
    Pause,
    /// An event, without an effect.
    Notify,
}

fn one_of(value: &str, options: &str) -> Message {
    message!("rule.one_of", value = format!("{value:?}"), options)
}

fn unknown_point(value: &str) -> Message {
    one_of(value, "before_switch, each_step, bake")
}

fn unknown_no_data(value: &str) -> Message {
    one_of(value, "wait, pass, fail")
}

fn unknown_on_fail(value: &str) -> Message {
    one_of(value, "rollback, pause, notify")
}

/// A gate of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Name in events and reports, which is unique in the policy.
    pub name: String,
    /// Point of the rollout at which it runs.
    pub at: GatePoint,
    /// The measured alarm, query or address.
    #[serde(flatten)]
    pub check: GateCheck,
    /// Time between two measurements, in seconds.
    pub every: u32,
    /// Number of measurements that must pass.
    pub times: u32,
    /// Number of failed measurements with which the gate fails.
    pub failures: u32,
    /// Meaning of a measurement without data.
    pub no_data: NoData,
    /// Effect of a failure.
    pub on_fail: OnFail,
}

/// The alarm, query or address that a gate measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GateCheck {
    /// A CloudWatch alarm of the target's account and region passes in the state OK.
    Alarm(AlarmCheck),
    /// A Prometheus query passes with a number within bounds.
    Prometheus(PrometheusCheck),
    /// An HTTP request passes with an accepted status and body.
    Http(HttpCheck),
}

/// An alarm of CloudWatch in the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmCheck {
    /// Name of a metric alarm or composite alarm.
    pub name: String,
}

/// A query whose result is one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrometheusCheck {
    /// Base URL of the HTTP API, such as `https://prometheus.example.com/`.
    pub url: String,
    /// Expression in PromQL with one result.
    pub query: String,
    /// Smallest number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Headers by name, each with the name of the repository's build secret that is its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A request to green before the switch, and to the production URL afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// Path below the URL.
    pub path: String,
    /// Status codes that pass, such as `200-299`.
    pub codes: String,
    /// Text that the first 64 KiB of the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Headers, as in [`PrometheusCheck`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Gate {
    /// Checks all rules of one gate.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn check(&self) -> Result<(), FieldRefusal> {
        name(&self.name).map_err(|rule| FieldRefusal::new("name", rule))?;
        let (first, last) = EVERY.into_inner();
        if !EVERY.contains(&self.every) {
            return Err(FieldRefusal::new("every", message!("rule.gate_every", first, last)));
        }
        for (field, count) in [("times", self.times), ("failures", self.failures)] {
            if !(1..=MAX_COUNT).contains(&count) {
                return Err(FieldRefusal::new(field, message!("rule.number_range", max = MAX_COUNT)));
            }
        }
        if self.seconds() > MAX_SECONDS {
            return Err(FieldRefusal::new("times", message!("rule.gate_seconds", max = MAX_SECONDS)));
        }
        if self.on_fail == OnFail::Pause && self.at == GatePoint::Bake {
            return Err(FieldRefusal::new("onFail", message!("rule.gate_bake_pause")));
        }
        match &self.check {
            GateCheck::Alarm(alarm) => alarm.check().map_err(|refused| refused.within("alarm")),
            GateCheck::Prometheus(query) => query.check().map_err(|refused| refused.within("prometheus")),
            GateCheck::Http(request) => request.check().map_err(|refused| refused.within("http")),
        }
    }

    /// Longest time that measurements with data take, in seconds.
    pub fn seconds(&self) -> u32 {
        // At the bounds of all three this is above any bound, without an overflow.
        self.every.saturating_mul(self.times.saturating_add(self.failures) - 1)
    }

    /// Headers of the gate's requests, with the names of their secrets.
    pub fn headers(&self) -> Option<&BTreeMap<String, String>> {
        match &self.check {
            GateCheck::Alarm(_) => None,
            GateCheck::Prometheus(PrometheusCheck { headers, .. }) | GateCheck::Http(HttpCheck { headers, .. }) => {
                Some(headers)
            }
        }
    }

    /// Field of the check in a policy, such as `alarm`.
    pub fn kind(&self) -> &'static str {
        match &self.check {
            GateCheck::Alarm(_) => "alarm",
            GateCheck::Prometheus(_) => "prometheus",
            GateCheck::Http(_) => "http",
        }
    }
}

/// Checks the gates of a policy.
///
/// # Errors
/// The first field that breaks its rule.
pub fn check_all(gates: &[Gate]) -> Result<(), FieldRefusal> {
    if gates.len() > MAX_GATES {
        return Err(FieldRefusal::new("gates", message!("rule.gates_most", max = MAX_GATES)));
    }
    for (index, gate) in gates.iter().enumerate() {
        gate.check().map_err(|refused| refused.within(&format!("gates[{index}]")))?;
        if gates[..index].iter().any(|other| other.name == gate.name) {
            return Err(FieldRefusal::new(format!("gates[{index}].name"), message!("rule.gate_name_taken")));
        }
    }
    Ok(())
}

fn name(value: &str) -> Result<(), BrokenRule> {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let fits = (1..=MAX_NAME).contains(&value.len()) && value.bytes().all(is_word);
    if fits { Ok(()) } else { Err(message!("rule.gate_name", max = MAX_NAME)) }
}

/// A text without control characters, within its length.
fn line(field: &'static str, value: &str, max: usize) -> Result<(), FieldRefusal> {
    let fits = (1..=max).contains(&value.chars().count()) && !value.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(FieldRefusal::new(field, message!("rule.gate_text", max))) }
}

impl AlarmCheck {
    fn check(&self) -> Result<(), FieldRefusal> {
        // CloudWatch's own bound.
        line("name", &self.name, 255)
    }
}

impl PrometheusCheck {
    fn check(&self) -> Result<(), FieldRefusal> {
        let url = Url::parse(&self.url).ok().filter(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if url.is_none() || self.url.len() > 1_024 {
            return Err(FieldRefusal::new("url", message!("rule.gate_url")));
        }
        // A query may have several lines.
        line("query", &self.query.replace('\n', " "), MAX_TEXT)?;
        let is_number = |bound: Option<f64>| bound.is_none_or(f64::is_finite);
        match (self.min, self.max) {
            (None, None) => Err(FieldRefusal::new("max", message!("rule.gate_bounds"))),
            (min, _) if !is_number(min) => Err(FieldRefusal::new("min", message!("rule.gate_bounds"))),
            (_, max) if !is_number(max) => Err(FieldRefusal::new("max", message!("rule.gate_bounds"))),
            (Some(min), Some(max)) if min > max => Err(FieldRefusal::new("max", message!("rule.gate_bounds"))),
            _ => headers(&self.headers),
        }
    }

    /// Reports that a number is within the bounds.
    pub fn accepts(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    /// The bounds as messages show them, such as `<= 0.01`.
    pub fn bounds(&self) -> String {
        let bound = |sign: &str, bound: Option<f64>| bound.map(|bound| format!("{sign} {bound}"));
        [bound(">=", self.min), bound("<=", self.max)].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl HttpCheck {
    fn check(&self) -> Result<(), FieldRefusal> {
        health_check::path(&self.path).map_err(|rule| FieldRefusal::new("path", rule))?;
        self.codes.parse::<StatusCodes>().map_err(|rule| FieldRefusal::new("codes", rule))?;
        if let Some(text) = &self.contains {
            line("contains", text, MAX_TEXT)?;
        }
        headers(&self.headers)
    }

    /// Reports that a status passes. Stored codes that this version cannot read accept none.
    pub fn accepts(&self, status: u16) -> bool {
        self.codes.parse::<StatusCodes>().is_ok_and(|codes| codes.contain(status))
    }
}

/// Headers that the connection itself sets.
const OWN_HEADERS: [&str; 6] = ["host", "content-length", "connection", "transfer-encoding", "upgrade", "te"];

fn headers(headers: &BTreeMap<String, String>) -> Result<(), FieldRefusal> {
    if headers.len() > MAX_HEADERS {
        return Err(FieldRefusal::new("headers", message!("rule.gate_headers", max = MAX_HEADERS)));
    }
    for (name, secret) in headers {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_header = (1..=100).contains(&name.len()) && name.bytes().all(is_token);
        if !is_header || OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(FieldRefusal::new("headers", message!("rule.gate_header", name = format!("{name:?}"))));
        }
        build_spec::secret_name(secret).map_err(|rule| FieldRefusal::new(format!("headers.{name}"), rule))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
