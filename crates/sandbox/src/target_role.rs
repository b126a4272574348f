//! Policies of the roles that EventBridge assumes for a rule's target.

use serde_json::{Value, json};

/// The trust policy of a role for every rule.
pub fn trust_of_events() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]})
}

/// The policy that allows a role to put events on the bus.
pub fn put_events_on(bus_arn: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus_arn},
    ]})
}

/// Returns true if the trust policy lets EventBridge assume the role for this rule.
pub fn trusts_rule(policy: &Value, rule_arn: &str, account: &str) -> bool {
    listed(&policy["Statement"]).iter().any(|statement| {
        let matches = |value: &Value, text: &str| {
            listed(value)
                .iter()
                .filter_map(|item| item.as_str())
                .any(|pattern| like(pattern.as_bytes(), text.as_bytes()))
        };
        let conditions = statement["Condition"].as_object().into_iter().flatten();
        let mut keys = conditions.flat_map(|(_, keys)| keys.as_object().into_iter().flatten());
        statement["Effect"] == "Allow"
            && matches(&statement["Action"], "sts:AssumeRole")
            && matches(&statement["Principal"]["Service"], "events.amazonaws.com")
            && keys.all(|(key, values)| match key.to_ascii_lowercase().as_str() {
                "aws:sourcearn" => matches(values, rule_arn),
                "aws:sourceaccount" => matches(values, account),
                _ => false,
            })
    })
}

/// Returns true if the policy allows `events:PutEvents` on the bus.
pub fn allows_put_events(policy: &Value, bus_arn: &str) -> bool {
    listed(&policy["Statement"]).iter().any(|statement| {
        let matches = |value: &Value, text: &str| {
            listed(value)
                .iter()
                .filter_map(|item| item.as_str())
                .any(|pattern| like(pattern.as_bytes(), text.as_bytes()))
        };
        statement["Effect"] == "Allow"
            && matches(&statement["Action"], "events:PutEvents")
            && matches(&statement["Resource"], bus_arn)
    })
}

/// Normalises a single value or a list to a list.
fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        Value::Null => Vec::new(),
        single => vec![single],
    }
}

/// Matches IAM's patterns: `*` for any characters, `?` for one.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| like(rest, &text[at..])),
        Some((b'?', rest)) => !text.is_empty() && like(rest, &text[1..]),
        Some((first, rest)) => text.first() == Some(first) && like(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "arn:aws:events:ap-northeast-2:210987654321:rule/panda-a";

    #[test]
    fn trust_is_limited_to_rules_and_account() {
        assert!(trusts_rule(&trust_of_events(), RULE, "210987654321"));
        let mut policy = trust_of_events();
        policy["Statement"][0]["Condition"] = json!({
            "StringEquals": {"aws:SourceAccount": "210987654321"},
            "ArnLike": {"aws:SourceArn": "arn:aws:events:ap-northeast-2:210987654321:rule/panda-*"},
        });
        assert!(trusts_rule(&policy, RULE, "210987654321"));
        assert!(!trusts_rule(&policy, &RULE.replace("panda-a", "other"), "210987654321"));
        assert!(!trusts_rule(&policy, RULE, "111111111111"));
        policy["Statement"][0]["Principal"] = json!({"AWS": "*"});
        assert!(!trusts_rule(&policy, RULE, "210987654321"));
    }

    #[test]
    fn policy_is_limited_to_the_bus() {
        let policy = put_events_on("arn:aws:events:*:123456789012:event-bus/panda");
        assert!(allows_put_events(&policy, "arn:aws:events:us-east-1:123456789012:event-bus/panda"));
        assert!(!allows_put_events(&policy, "arn:aws:events:us-east-1:123456789012:event-bus/other"));
    }
}
