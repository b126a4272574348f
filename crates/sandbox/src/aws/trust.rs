//! Evaluates trust policies of roles with their external ids. As in IAM, everything not allowed is denied, without a reason.

use serde_json::Value;

/// Returns true if `policy` allows `caller` (an ARN of `account`) to assume the role with this external id.
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

/// Describes why IAM would reject the policy, or why the sandbox does not support it; `None` for a supported policy.
pub fn flaw(policy: &Value) -> Option<String> {
    let statements = listed(&policy["Statement"]);
    if statements.is_empty() {
        return Some("MalformedPolicyDocument: Statement is missing".to_owned());
    }
    let unknown = statements.iter().flat_map(|statement| {
        let conditions = statement["Condition"].as_object().into_iter().flatten();
        conditions.flat_map(|(operator, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(move |(key, _)| (operator.clone(), key.clone()))
        })
    });
    let supported = |operator: &str, key: &str| base(operator).is_some() && key.eq_ignore_ascii_case("sts:ExternalId");
    let mut unknown = unknown.filter(|(operator, key)| !supported(operator, key));
    unknown.next().map(|(operator, key)| format!("the sandbox does not support the condition {operator} of {key}"))
}

/// Normalises a single value or a list to a list.
fn listed(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        single => vec![single.clone()],
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

/// Splits a supported operator into its name and whether it has the suffix `IfExists`.
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
    // As in IAM, a negated operator is true for a missing key.
    let Some(given) = given else { return if_exists || operator == "StringNotEquals" };
    let any = |fits: &dyn Fn(&str) -> bool| values.iter().filter_map(Value::as_str).any(fits);
    match operator {
        "StringLike" => any(&|pattern| like(pattern.as_bytes(), given.as_bytes())),
        "StringEqualsIgnoreCase" => any(&|value| value.eq_ignore_ascii_case(given)),
        "StringNotEquals" => !any(&|value| value == given),
        _ => any(&|value| value == given),
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
    fn evaluates_conditions() {
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
    fn denial_overrides() {
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
    fn rejects_unsupported_policies() {
        assert_eq!(flaw(&policy(&json!({"StringEquals": {"sts:ExternalId": "x"}}))), None);
        assert!(flaw(&policy(&json!({"IpAddress": {"aws:SourceIp": "x"}}))).is_some());
        assert!(flaw(&json!({})).is_some());
    }
}
