//! Gates of a policy: in words, and as fields of the form.

use std::collections::BTreeMap;

use super::rule_text::RuleText;
use crate::domain::gate::{AlarmCheck, Gate, GateCheck, HttpCheck, PrometheusCheck};
use crate::domain::text::visible;
use crate::http::page::context::Page;

/// Describes a gate in sentences.
pub fn in_words(page: &Page, gate: &Gate) -> RuleText {
    let point = page.named("gate_point", gate.at.to_string());
    let title = page.fill("policies.gate", &[("name", visible(&gate.name).as_str()), ("point", &point)]);
    let every = page.duration(&f64::from(gate.every));
    let (times, failures) = (gate.times.to_string(), gate.failures.to_string());
    let counts = [("times", times.as_str()), ("every", &every), ("failures", &failures)];
    let mut lines = vec![check(page, &gate.check), page.fill("policies.gate_counts", &counts)];
    lines.push(page.named("policies.on_fail", gate.on_fail.to_string()));
    lines.push(page.named("policies.no_data", gate.no_data.to_string()));
    RuleText::new(title, lines)
}

fn check(page: &Page, check: &GateCheck) -> String {
    match check {
        GateCheck::Alarm(AlarmCheck { name }) => page.fill("policies.gate_alarm", &[("name", visible(name).as_str())]),
        GateCheck::Prometheus(PrometheusCheck { url, query, min, max, .. }) => {
            let bound = |sign: &str, bound: &Option<f64>| bound.map(|bound| format!("{sign} {bound}"));
            let bounds: Vec<String> = bound("≥", min).into_iter().chain(bound("≤", max)).collect();
            let (query, url) = (visible(query), visible(url));
            let params = [("query", query.as_str()), ("bounds", &bounds.join(", ")), ("url", &url)];
            page.fill("policies.gate_prometheus", &params)
        }
        GateCheck::Http(HttpCheck { path, codes, contains, .. }) => {
            let (path, codes) = (visible(path), visible(codes));
            let params = [("path", path.as_str()), ("codes", &codes)];
            match contains {
                None => page.fill("policies.gate_http", &params),
                Some(text) => {
                    let text = visible(text);
                    page.fill("policies.gate_http_text", &[params[0], params[1], ("text", &text)])
                }
            }
        }
    }
}

/// Values of the fields of a gate. Empty ones are not set.
#[derive(Default)]
pub struct GateFields {
    pub name: String,
    pub at: String,
    /// `alarm`, `prometheus` or `http`.
    pub kind: &'static str,
    pub alarm: String,
    pub url: String,
    pub query: String,
    pub min: String,
    pub max: String,
    pub path: String,
    pub codes: String,
    pub contains: String,
    /// A header and the name of its secret on each line.
    pub headers: String,
    pub every: String,
    pub times: String,
    pub failures: String,
    pub no_data: String,
    pub on_fail: String,
}

impl GateFields {
    /// Fields of a gate that is added.
    pub fn blank() -> Self {
        Self { kind: "http", ..Self::default() }
    }

    /// Fields of a stored gate.
    pub fn of(gate: &Gate) -> Self {
        let counted = Self {
            name: gate.name.clone(),
            at: gate.at.to_string(),
            every: gate.every.to_string(),
            times: gate.times.to_string(),
            failures: gate.failures.to_string(),
            no_data: gate.no_data.to_string(),
            on_fail: gate.on_fail.to_string(),
            ..Self::default()
        };
        match gate.check.clone() {
            GateCheck::Alarm(AlarmCheck { name }) => Self { kind: "alarm", alarm: name, ..counted },
            GateCheck::Prometheus(PrometheusCheck { url, query, min, max, headers }) => {
                let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
                let (min, max) = (number(min), number(max));
                Self { kind: "prometheus", url, query, min, max, headers: lines(&headers), ..counted }
            }
            GateCheck::Http(HttpCheck { path, codes, contains, headers }) => {
                let (contains, headers) = (contains.unwrap_or_default(), lines(&headers));
                Self { kind: "http", path, codes, contains, headers, ..counted }
            }
        }
    }
}

/// Writes pairs as the form reads them, one on each line.
pub fn lines(pairs: &BTreeMap<String, String>) -> String {
    pairs.iter().flat_map(|(name, value)| [name.as_str(), "=", value, "\n"]).collect()
}
