//! Evaluates trust policies of roles: principal, action and conditions. As in IAM, everything not allowed is denied, without a reason.

use serde_json::Value;

use crate::accounts::{CONTROLLER_ACCOUNT, ORGANIZATION, USER_ACCOUNT};

/// A caller that asks for a role.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub account: &'a str,
    /// ARN of the caller: a user, or a session of a role.
    pub caller: &'a str,
    pub external_id: Option<&'a str>,
    pub session: &'a str,
}

/// Returns true if `policy` allows the request.
pub fn allows(policy: &Value, request: &Request<'_>) -> bool {
    let statements = listed(&policy["Statement"]);
    let matching = |effect: &str| {
        statements.iter().any(|statement| {
            statement["Effect"] == effect
                && listed(&statement["Action"]).iter().any(covers_action)
                && listed(&statement["Principal"]["AWS"])
                    .iter()
                    .chain(&listed(&statement["Principal"]))
                    .any(|principal| names(principal, request))
                && conditions_hold(&statement["Condition"], request)
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
    if let Some(member) =
        ["NotPrincipal", "NotAction"].iter().find(|member| statements.iter().any(|one| one.get(*member).is_some()))
    {
        return Some(format!("the sandbox does not support {member}"));
    }
    let unknown = statements.iter().flat_map(|statement| {
        let conditions = statement["Condition"].as_object().into_iter().flatten();
        conditions.flat_map(|(operator, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(move |(key, _)| (operator.clone(), key.clone()))
        })
    });
    let supported = |operator: &str, key: &str| Operator::parse(operator).is_some() && is_known(key);
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

fn names(principal: &Value, request: &Request<'_>) -> bool {
    let Some(principal) = principal.as_str() else { return false };
    let account = request.account;
    principal == "*"
        || principal == account
        || principal == request.caller
        || principal == format!("arn:aws:iam::{account}:root")
        || principal == identity(request)
}

/// `aws:PrincipalArn`: of a session, its role. The sandbox knows no paths of the roles that call.
fn identity(request: &Request<'_>) -> String {
    let session = request.caller.split_once(":assumed-role/").and_then(|(_, session)| session.split_once('/'));
    match session {
        Some((role, _)) => format!("arn:aws:iam::{}:role/{role}", request.account),
        None => request.caller.to_owned(),
    }
}

fn is_known(key: &str) -> bool {
    ["sts:externalid", "sts:rolesessionname", "aws:principalarn", "aws:principalaccount", "aws:principalorgid"]
        .contains(&key.to_ascii_lowercase().as_str())
}

/// The value of a condition key; `None` where the request has none.
fn value_of(key: &str, request: &Request<'_>) -> Option<String> {
    match key.to_ascii_lowercase().as_str() {
        "sts:externalid" => request.external_id.map(str::to_owned),
        "sts:rolesessionname" => Some(request.session.to_owned()),
        "aws:principalarn" => Some(identity(request)),
        "aws:principalaccount" => Some(request.account.to_owned()),
        "aws:principalorgid" => {
            [USER_ACCOUNT, CONTROLLER_ACCOUNT].contains(&request.account).then(|| ORGANIZATION.to_owned())
        }
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equals,
    IgnoreCase,
    Like,
    Null,
}

/// An operator of conditions, as IAM names them.
#[derive(Clone, Copy)]
struct Operator {
    comparison: Comparison,
    negated: bool,
    if_exists: bool,
}

impl Operator {
    /// Parses a supported operator.
    fn parse(operator: &str) -> Option<Self> {
        let (name, if_exists) = match operator.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (operator, false),
        };
        let (comparison, negated) = match name {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::IgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::IgnoreCase, true),
            // ArnEquals and ArnLike behave identically.
            "StringLike" | "ArnLike" | "ArnEquals" => (Comparison::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Comparison::Like, true),
            "Null" if !if_exists => (Comparison::Null, false),
            _ => return None,
        };
        Some(Self { comparison, negated, if_exists })
    }

    fn holds(self, values: &[Value], given: Option<&str>) -> bool {
        if self.comparison == Comparison::Null {
            let absent = given.is_none();
            let text = if absent { "true" } else { "false" };
            let wanted = |value: &Value| value.as_bool() == Some(absent) || value.as_str() == Some(text);
            return values.iter().any(wanted);
        }
        // As in IAM, a negated operator is true for a missing key.
        let Some(given) = given else { return self.if_exists || self.negated };
        let any = values.iter().filter_map(Value::as_str).any(|value| match self.comparison {
            Comparison::Like => like(value.as_bytes(), given.as_bytes()),
            Comparison::IgnoreCase => value.eq_ignore_ascii_case(given),
            _ => value == given,
        });
        any != self.negated
    }
}

fn conditions_hold(condition: &Value, request: &Request<'_>) -> bool {
    let Some(operators) = condition.as_object() else { return true };
    operators.iter().all(|(name, keys)| {
        let Some(operator) = Operator::parse(name) else { return false };
        let mut keys = keys.as_object().into_iter().flatten();
        keys.all(|(key, values)| is_known(key) && operator.holds(&listed(values), value_of(key, request).as_deref()))
    })
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

    fn asks(policy: &Value, account: &str, caller: &str, external_id: Option<&str>) -> bool {
        allows(policy, &Request { account, caller, external_id, session: "panda" })
    }

    fn ids_that_pass(condition: &Value) -> [bool; 3] {
        [None, Some("right"), Some("wrong")].map(|id| asks(&policy(condition), ACCOUNT, CALLER, id))
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
            (of("StringNotLike", json!("w*")), [true, true, false]),
            (of("Null", json!("false")), [false, true, true]),
            (of("Null", json!(true)), [true, false, false]),
        ] {
            assert_eq!(ids_that_pass(&condition), expected, "{condition}");
        }
    }

    #[test]
    fn evaluates_the_principal() {
        const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/panda/run";
        let only = |operator: &str, key: &str, value: &str| policy(&json!({operator: {key: value}}));
        let arns = [CALLER, SESSION];
        for (operator, key, value, expected) in [
            ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::123456789012:user/*", [true, false]),
            ("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::123456789012:role/panda", [false, true]),
            ("StringEquals", "aws:PrincipalAccount", ACCOUNT, [true, true]),
            ("StringEquals", "sts:RoleSessionName", "other", [false, false]),
            ("StringEquals", "aws:PrincipalOrgID", "o-1", [false, false]),
            ("StringEquals", "aws:PrincipalOrgID", ORGANIZATION, [true, true]),
        ] {
            let policy = only(operator, key, value);
            assert_eq!(arns.map(|arn| asks(&policy, ACCOUNT, arn, None)), expected, "{operator} {key} {value}");
        }
        let of_role = json!({"Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::123456789012:role/panda"},
        }});
        assert_eq!(arns.map(|arn| asks(&of_role, ACCOUNT, arn, None)), [false, true]);
        let of_service = json!({"Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "events.amazonaws.com"},
        }});
        assert_eq!(arns.map(|arn| asks(&of_service, ACCOUNT, arn, None)), [false, false]);
    }

    #[test]
    fn denial_overrides() {
        let open = policy(&json!({}));
        assert!(!asks(&open, "999999999999", "arn:aws:iam::999999999999:user/x", None));
        assert!(!asks(&json!({"Statement": []}), ACCOUNT, CALLER, None));
        let denied = json!({"Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*"},
            {"Effect": "Deny", "Action": "sts:AssumeRole", "Principal": {"AWS": CALLER}},
        ]});
        assert!(!asks(&denied, ACCOUNT, CALLER, None) && asks(&denied, "999999999999", "arn:x", None));
    }

    #[test]
    fn rejects_unsupported_policies() {
        assert_eq!(flaw(&policy(&json!({"StringEquals": {"sts:ExternalId": "x"}}))), None);
        assert!(flaw(&policy(&json!({"IpAddress": {"aws:SourceIp": "x"}}))).is_some());
        assert!(flaw(&json!({})).is_some());
    }
}
