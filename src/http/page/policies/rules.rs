//! The rules of a policy in words. A member of a policy that this view has no words for is shown as JSON, and edited as JSON.

use chrono::Utc;
use serde_json::{Map, Value};

use super::gates;
use super::rule_text::RuleText;
use crate::domain::auto_switch::AutoSwitch;
use crate::domain::cron::{self, Cron};
use crate::domain::policy::{Approvals, Policy, TimeWindow};
use crate::domain::text::visible;
use crate::http::page::context::Page;
use crate::http::page::format::pretty_json;

/// Members of a policy that have their own fields in the form.
const WITH_FIELDS: [&str; 5] = ["windows", "approvals", "gates", "autoSwitch", "labels"];

/// Openings of a window that are shown.
const OPENINGS: usize = 2;

/// Returns the rules of a policy, those that restrict nothing left out.
pub fn rules(page: &Page, policy: &Policy) -> Vec<RuleText> {
    let mut rules: Vec<RuleText> = policy.windows.iter().map(|given| window(page, given)).collect();
    rules.extend(approvals(page, &policy.approvals));
    rules.extend(policy.gates.iter().map(|gate| gates::in_words(page, gate)));
    rules.extend(auto_switch(page, policy.auto_switch));
    rules.extend(labels(page, policy));
    rules.extend(
        other_members(policy)
            .into_iter()
            .filter(|(_, value)| !is_nothing(value))
            .map(|(name, value)| RuleText { json: Some(pretty_json(&value)), ..RuleText::new(name, Vec::new()) }),
    );
    rules
}

/// Returns the members without fields, which the form keeps as JSON: name, and value unless it restricts nothing.
pub fn members_as_json(policy: &Policy) -> Vec<(String, String)> {
    let text = |value: &Value| if is_nothing(value) { String::new() } else { pretty_json(value) };
    other_members(policy).into_iter().map(|(name, value)| (name, text(&value))).collect()
}

fn other_members(policy: &Policy) -> Map<String, Value> {
    // Stored policies have the form in which the API returns and takes them.
    let Ok(Value::Object(mut members)) = serde_json::to_value(policy) else { return Map::new() };
    for name in WITH_FIELDS {
        members.remove(name);
    }
    members
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn window(page: &Page, window: &TimeWindow) -> RuleText {
    let minutes = f64::from(window.minutes);
    let (length, zone) = (page.duration(&(minutes * 60.0)), visible(&window.time_zone));
    let cron = visible(&window.cron);
    let line = page.fill("policies.window", &[("cron", cron.as_str()), ("zone", &zone), ("length", &length)]);
    let permits = page.named("policies.permits", &window.permits);
    let now = Utc::now();
    let mut lines = vec![line];
    if window.is_open(now) {
        lines.push(page.t("policies.open_now"));
    }
    let openings = match (Cron::parse(&window.cron), cron::zone(&window.time_zone)) {
        (Ok(cron), Ok(zone)) => cron.upcoming(now, zone, OPENINGS),
        _ => Vec::new(),
    };
    RuleText { openings, ..RuleText::new(permits, lines) }
}

fn approvals(page: &Page, approvals: &Approvals) -> Option<RuleText> {
    let mut lines = Vec::new();
    if approvals.count > 1 {
        lines.push(page.fill("policies.count", &[("n", approvals.count.to_string().as_str())]));
    }
    if approvals.four_eyes {
        lines.push(page.t("policies.four_eyes"));
    }
    if let Some(minutes) = approvals.minutes {
        lines.push(page.fill("policies.within", &[("time", page.duration(&(f64::from(minutes) * 60.0)).as_str())]));
    }
    (!lines.is_empty()).then(|| RuleText::new(page.t("policies.approvals"), lines))
}

fn auto_switch(page: &Page, rule: AutoSwitch) -> Option<RuleText> {
    let line = match rule {
        AutoSwitch::Never => return None,
        AutoSwitch::WhenGatesPass => page.t("policies.when_gates_pass"),
        AutoSwitch::At { hour, minute, zone } => {
            let (time, zone) = (format!("{hour:02}:{minute:02}"), zone.to_string());
            page.fill("policies.at_time", &[("time", time.as_str()), ("zone", &zone)])
        }
    };
    Some(RuleText::new(page.t("policies.auto_switch"), vec![line]))
}

fn labels(page: &Page, policy: &Policy) -> Option<RuleText> {
    let lines: Vec<String> =
        policy.labels.0.iter().map(|(name, value)| format!("{name}: {}", visible(value))).collect();
    (!lines.is_empty()).then(|| RuleText::new(page.t("policies.labels"), lines))
}
