//! Trust policies of roles: who may assume them, with which external id. As unkind as IAM: what is not allowed is denied, and why is not said.

use serde_json::Value;

/// Whether `policy` lets `caller` (an ARN of `account`) assume the role with this external id.
pub fn allows(policy: &Value, account: &str, caller: &str, external_id: Option<&str>) -> bool {
    let statements = listed(&policy["Statement"]);
    let matching = |effect: &str| {
        statements.iter().any(|statement| {
            statement["Effect"] == effect
                && listed(&statement["Action"]).iter().any(covers_action)
                && listed(&statement["Principal"]["AWS"])
                    .iter()
                    .chain(&listed(&statement["Principal"]))
                    .any(|principal| names(principal, account, caller))
                && conditions_hold(&statement["Condition"], external_id)
        })
    };
    matching("Allow") && !matching("Deny")
}

/// What is wrong with a policy that IAM would refuse, or that is not played here.
pub fn flaw(policy: &Value) -> Option<String> {
    let statements = listed(&policy["Statement"]);
    if statements.is_empty() {
        return Some("MalformedPolicyDocument: there is no Statement".to_owned());
    }
    let unknown = statements.iter().flat_map(|statement| {
        let conditions = statement["Condition"].as_object().into_iter().flatten();
        conditions.flat_map(|(operator, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(move |(key, _)| (operator.clone(), key.clone()))
        })
    });
    let played = |operator: &str, key: &str| base(operator).is_some() && key.eq_ignore_ascii_case("sts:ExternalId");
    let mut unknown = unknown.filter(|(operator, key)| !played(operator, key));
    unknown.next().map(|(operator, key)| format!("the sandbox does not play the condition {operator} of {key}"))
}

/// A value that may be one or a list.
fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

fn covers_action(action: &Value) -> bool {
    action
        .as_str()
        .is_some_and(|action| ["sts:assumerole", "sts:*", "*"].contains(&action.to_ascii_lowercase().as_str()))
}

fn names(principal: &Value, account: &str, caller: &str) -> bool {
    let Some(principal) = principal.as_str() else { return false };
    principal == "*"
        || principal == account
        || principal == caller
        || principal == format!("arn:aws:iam::{account}:root")
}

/// The operator without its suffix, when it is played.
fn base(operator: &str) -> Option<(&str, bool)> {
    let (name, if_exists) = match operator.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (operator, false),
    };
    ["StringEquals", "StringLike", "StringNotEquals", "StringEqualsIgnoreCase"]
        .contains(&name)
        .then_some((name, if_exists))
}

fn conditions_hold(condition: &Value, external_id: Option<&str>) -> bool {
    let Some(operators) = condition.as_object() else { return true };
    operators.iter().all(|(operator, keys)| {
        let Some((name, if_exists)) = base(operator) else { return false };
        let keys = keys.as_object().into_iter().flatten();
        keys.into_iter().all(|(key, values)| {
            key.eq_ignore_ascii_case("sts:ExternalId") && holds(name, if_exists, &listed(values), external_id)
        })
    })
}

fn holds(operator: &str, if_exists: bool, values: &[Value], given: Option<&str>) -> bool {
    // A negated operator holds for a key that is missing, as IAM's do.
    let Some(given) = given else { return if_exists || operator == "StringNotEquals" };
    let any = |fits: &dyn Fn(&str) -> bool| values.iter().filter_map(Value::as_str).any(fits);
    match operator {
        "StringLike" => any(&|pattern| like(pattern.as_bytes(), given.as_bytes())),
        "StringEqualsIgnoreCase" => any(&|value| value.eq_ignore_ascii_case(given)),
        "StringNotEquals" => !any(&|value| value == given),
        _ => any(&|value| value == given),
    }
}

/// IAM's patterns: `*` for any characters, `?` for one.
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
    use serde_json::json;

    const ACCOUNT: &str = "123456789012";
    const CALLER: &str = "arn:aws:iam::123456789012:user/panda";

    fn policy(condition: &Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}, "Condition": condition,
        }]})
    }

    fn ids_that_pass(condition: &Value) -> [bool; 3] {
        [None, Some("right"), Some("wrong")].map(|id| allows(&policy(condition), ACCOUNT, CALLER, id))
    }

    #[test]
    fn conditions_decide_as_iams_do() {
        let of = |operator: &str, value: Value| json!({operator: {"sts:ExternalId": value}});
        for (condition, expected) in [
            (json!({}), [true, true, true]),
            (of("StringEquals", json!("right")), [false, true, false]),
            (of("StringEquals", json!(["other", "right"])), [false, true, false]),
            (of("StringEqualsIfExists", json!("right")), [true, true, false]),
            (of("StringLike", json!("*")), [false, true, true]),
            (of("StringLike", json!("r?gh*")), [false, true, false]),
            (of("StringNotEquals", json!("wrong")), [true, true, false]),
            (of("StringEqualsIgnoreCase", json!("RIGHT")), [false, true, false]),
        ] {
            assert_eq!(ids_that_pass(&condition), expected, "{condition}");
        }
    }

    #[test]
    fn only_those_named_pass_and_a_denial_wins() {
        let open = policy(&json!({}));
        assert!(!allows(&open, "999999999999", "arn:aws:iam::999999999999:user/x", None));
        assert!(!allows(&json!({"Statement": []}), ACCOUNT, CALLER, None));
        let denied = json!({"Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"},
            {"Effect": "Deny", "Action": "sts:AssumeRole", "Principal": {"AWS": CALLER}},
        ]});
        assert!(!allows(&denied, ACCOUNT, CALLER, None) && allows(&denied, "999999999999", "arn:x", None));
    }

    #[test]
    fn what_is_not_played_is_refused() {
        assert_eq!(flaw(&policy(&json!({"StringEquals": {"sts:ExternalId": "x"}}))), None);
        assert!(flaw(&policy(&json!({"IpAddress": {"aws:SourceIp": "x"}}))).is_some());
        assert!(flaw(&json!({})).is_some());
    }
}
