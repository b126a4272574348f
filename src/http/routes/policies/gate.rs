//! A gate of a policy on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::gate::{AlarmCheck, Gate, GateCheck, HttpCheck, PrometheusCheck};
use crate::domain::message::message;
use crate::domain::validate::{BrokenRule, FieldRefusal};

/// A condition of the traffic: exactly one of `alarm`, `prometheus` and `http`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyGate {
    /// Name in events and reports, unique in the policy: 1 to 40 lower-case letters, digits, `-` and `_`.
    #[schema(example = "errors", max_length = 40)]
    pub name: String,
    /// When it runs: `before_switch` (after the approval, before any traffic moves), `each_step` (before each further part; rollouts of ECS with pauses) or
    /// `bake` (all traffic is on green, and blue can still take it back).
    #[schema(example = "bake", pattern = "^(before_switch|each_step|bake)$")]
    pub at: String,
    /// CloudWatch alarm, which passes in the state OK. One in ALARM blocks the start as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<GateAlarm>,
    /// Prometheus query, whose result is one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<GatePrometheus>,
    /// HTTP request to green before the switch, and to the production URL afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<GateHttp>,
    /// Seconds between two measurements, 5 to 3600; 30 when absent.
    #[serde(default = "thirty")]
    #[schema(example = 30, minimum = 5, maximum = 3600)]
    pub every: u32,
    /// Number of measurements that must pass, 1 to 1000; 1 when absent.
    #[serde(default = "one")]
    #[schema(example = 5, minimum = 1, maximum = 1000)]
    pub times: u32,
    /// Number of failed measurements with which the gate fails, 1 to 1000; 1 when absent.
    #[serde(default = "one")]
    #[schema(example = 2, minimum = 1, maximum = 1000)]
    pub failures: u32,
    /// Meaning of a measurement without data: `wait` (measured again; the default), `pass` or `fail`.
    #[serde(default = "wait")]
    #[schema(example = "wait", pattern = "^(wait|pass|fail)$")]
    pub no_data: String,
    /// Effect of a failure: `rollback` (the default), `pause` (the switch is refused) or `notify` (an event).
    #[serde(default = "rollback")]
    #[schema(example = "rollback", pattern = "^(rollback|pause|notify)$")]
    pub on_fail: String,
}

/// An alarm of the policy's account and region.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateAlarm {
    /// Name of a metric alarm or composite alarm.
    #[schema(example = "shop-5xx", max_length = 255)]
    pub name: String,
}

/// A query, with at least one bound.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GatePrometheus {
    /// Base URL of the HTTP API. Private addresses need PANDA_HEALTH_ALLOW where health checks do.
    #[schema(example = "https://prometheus.example.com/")]
    pub url: String,
    /// Expression in PromQL that returns a scalar, or a vector of one element.
    #[schema(example = "sum(rate(http_requests_total{job=\"shop\",code=~\"5..\"}[1m]))", max_length = 2000)]
    pub query: String,
    /// Smallest number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Largest number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.5)]
    pub max: Option<f64>,
    /// Headers by name, each with the name of the build secret of the repository that is its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"Authorization": "prometheus-authorization"}))]
    pub headers: BTreeMap<String, String>,
}

/// A request to the service itself.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GateHttp {
    /// Path below the URL.
    #[schema(example = "/ready")]
    pub path: String,
    /// Status codes that pass; `200-399` when absent.
    #[serde(default = "ok")]
    #[schema(example = "200-299")]
    pub codes: String,
    /// Text that the first 64 KiB of the body must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "\"database\":\"up\"", max_length = 2000)]
    pub contains: Option<String>,
    /// Headers by name, each with the name of the build secret of the repository that is its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

fn thirty() -> u32 {
    30
}

fn one() -> u32 {
    1
}

fn wait() -> String {
    "wait".to_owned()
}

fn rollback() -> String {
    "rollback".to_owned()
}

fn ok() -> String {
    "200-399".to_owned()
}

impl PolicyGate {
    /// Reads the words and the check.
    pub(super) fn read(self) -> Result<Gate, FieldRefusal> {
        let refused = |field: &'static str| move |rule: BrokenRule| FieldRefusal::new(field, rule);
        let check = match (self.alarm, self.prometheus, self.http) {
            (Some(GateAlarm { name }), None, None) => GateCheck::Alarm(AlarmCheck { name }),
            (None, Some(GatePrometheus { url, query, min, max, headers }), None) => {
                GateCheck::Prometheus(PrometheusCheck { url, query, min, max, headers })
            }
            (None, None, Some(GateHttp { path, codes, contains, headers })) => {
                GateCheck::Http(HttpCheck { path, codes, contains, headers })
            }
            _ => return Err(FieldRefusal::new("alarm", message!("rule.gate_kind"))),
        };
        Ok(Gate {
            name: self.name,
            at: self.at.parse().map_err(refused("at"))?,
            check,
            every: self.every,
            times: self.times,
            failures: self.failures,
            no_data: self.no_data.parse().map_err(refused("noData"))?,
            on_fail: self.on_fail.parse().map_err(refused("onFail"))?,
        })
    }
}

impl From<Gate> for PolicyGate {
    fn from(gate: Gate) -> Self {
        let (mut alarm, mut prometheus, mut http) = (None, None, None);
        match gate.check {
            GateCheck::Alarm(AlarmCheck { name }) => alarm = Some(GateAlarm { name }),
            GateCheck::Prometheus(PrometheusCheck { url, query, min, max, headers }) => {
                prometheus = Some(GatePrometheus { url, query, min, max, headers });
            }
            GateCheck::Http(HttpCheck { path, codes, contains, headers }) => {
                http = Some(GateHttp { path, codes, contains, headers });
            }
        }
        Self {
            name: gate.name,
            at: gate.at.to_string(),
            alarm,
            prometheus,
            http,
            every: gate.every,
            times: gate.times,
            failures: gate.failures,
            no_data: gate.no_data.to_string(),
            on_fail: gate.on_fail.to_string(),
        }
    }
}
