//! The resource policy of the controller's event bus: which accounts it permits to put events, and the statements that Panda writes.
//!
//! Membership of an organization cannot be looked up with Panda's permissions. A statement for an organization counts as granted where the
//! settings name that organization, or where others manage the policy.

use serde_json::{Value, json};
use strum::{EnumString, IntoStaticStr};

use super::event_route::BusArn;
use super::names::permission_statement;

/// Longest policy of an event bus, in bytes.
pub const MAX_POLICY_BYTES: usize = 10_240;

/// Rules that an event bus may have, unless AWS raised its quota.
pub const MAX_RULES: usize = 300;

/// Id of the statement that permits an organization.
pub const ORGANIZATION_STATEMENT: &str = "panda-organization";

/// Owner of the policy's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum BusPolicy {
    /// Panda writes a statement for each account.
    #[default]
    Accounts,
    /// Panda writes one statement for the organization.
    Organization,
    /// Others write the policy; Panda only reads it.
    Managed,
}

/// Permission of an account to put events on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A statement permits the account, or the configured organization.
    Yes,
    /// Only statements with conditions that Panda cannot evaluate permit it, such as for another organization.
    Conditionally,
    /// No statement permits it.
    No,
    /// The statement with this id denies it, which no other statement can outweigh.
    Denied(String),
}

/// Evaluates the policy of the bus for an account.
pub fn granted(policy: Option<&Value>, bus_arn: &str, account: &str, organization: Option<&str>) -> Granted {
    let mut found = Granted::No;
    for statement in statements(policy).iter().filter(|statement| covers(statement, bus_arn, account)) {
        let condition =
            statement.get("Condition").filter(|condition| condition.as_object().is_some_and(|all| !all.is_empty()));
        match (statement["Effect"].as_str(), condition) {
            (Some("Deny"), None) => return Granted::Denied(sid(statement).unwrap_or("without Sid").to_owned()),
            (Some("Allow"), None) => found = Granted::Yes,
            (Some("Allow"), Some(condition)) if found != Granted::Yes => {
                let ours = organization.is_some_and(|organization| is_for_organization(condition, organization));
                found = if ours { Granted::Yes } else { Granted::Conditionally };
            }
            _ => {}
        }
    }
    found
}

/// Returns the ids of the statements.
pub fn statement_ids(policy: Option<&Value>) -> Vec<&str> {
    statements(policy).iter().filter_map(sid).collect()
}

/// Returns the statement that permits an account, as `PutPermission` writes it.
pub fn account_statement(bus_arn: &str, account: &str) -> Value {
    let partition = BusArn::parse(bus_arn).map_or("aws", |bus| bus.partition);
    json!({
        "Sid": permission_statement(account), "Effect": "Allow", "Action": "events:PutEvents", "Resource": bus_arn,
        "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
    })
}

/// Returns the statement that permits all accounts of an organization.
pub fn organization_statement(bus_arn: &str, organization: &str) -> Value {
    json!({
        "Sid": ORGANIZATION_STATEMENT, "Effect": "Allow", "Action": "events:PutEvents", "Resource": bus_arn, "Principal": "*",
        "Condition": {"StringEquals": {"aws:PrincipalOrgID": organization}},
    })
}

fn statements(policy: Option<&Value>) -> &[Value] {
    match policy.and_then(|policy| policy.get("Statement")) {
        Some(Value::Array(statements)) => statements,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

fn sid(statement: &Value) -> Option<&str> {
    statement.get("Sid").and_then(Value::as_str)
}

fn covers(statement: &Value, bus_arn: &str, account: &str) -> bool {
    let any = |value: &Value, fits: &dyn Fn(&str) -> bool| match value {
        Value::String(text) => fits(text),
        Value::Array(all) => all.iter().filter_map(Value::as_str).any(fits),
        _ => false,
    };
    let is_root = |text: &str| {
        text.strip_suffix(":root")
            .and_then(|arn| arn.rsplit_once(':'))
            .is_some_and(|(start, id)| start.ends_with(":iam:") && id == account)
    };
    let is_account = |text: &str| text == "*" || text == account || is_root(text);
    let principal = &statement["Principal"];
    (principal == "*" || any(&principal["AWS"], &is_account))
        && any(&statement["Action"], &|action| like(&action.to_ascii_lowercase(), "events:putevents"))
        && any(&statement["Resource"], &|resource| like(resource, bus_arn))
}

fn is_for_organization(condition: &Value, organization: &str) -> bool {
    let operators = condition.as_object().into_iter().flatten();
    let mut keys = operators.flat_map(|(operator, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, values)| (operator.as_str(), key.as_str(), values))
    });
    keys.all(|(operator, key, values)| {
        let equal = |value: &Value| value.as_str() == Some(organization);
        let names_it = match values {
            Value::Array(all) => all.iter().any(equal),
            one => equal(one),
        };
        matches!(operator, "StringEquals" | "StringLike" | "ForAnyValue:StringEquals" | "ForAnyValue:StringLike")
            && key.eq_ignore_ascii_case("aws:PrincipalOrgID")
            && names_it
    })
}

/// Matches a pattern of a policy, in which `*` stands for any characters, in linear time for the last `*`.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some((_, behind)) = rest.split_once(before) else { return false };
            rest = behind;
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUS: &str = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";
    const ACCOUNT: &str = "210987654321";

    fn of(statements: &Value) -> Granted {
        granted(Some(&json!({"Statement": statements})), BUS, ACCOUNT, Some("o-ours123456"))
    }

    #[test]
    fn own_statements_grant() {
        assert_eq!(of(&json!([account_statement(BUS, ACCOUNT)])), Granted::Yes);
        assert_eq!(of(&account_statement(BUS, ACCOUNT)), Granted::Yes, "a single statement");
        assert_eq!(of(&json!([account_statement(BUS, "111111111111")])), Granted::No);
        assert_eq!(of(&json!([organization_statement(BUS, "o-ours123456")])), Granted::Yes);
        assert_eq!(of(&json!([organization_statement(BUS, "o-theirs12345")])), Granted::Conditionally);
        assert_eq!(granted(None, BUS, ACCOUNT, None), Granted::No);
    }

    #[test]
    fn statement_must_cover_action_bus_and_account() {
        let with = |name: &str, value: Value| {
            let mut statement = account_statement(BUS, ACCOUNT);
            statement[name] = value;
            of(&json!([statement]))
        };
        for (name, value) in [
            ("Action", json!("events:*")),
            ("Action", json!(["events:PutRule", "events:putevents"])),
            ("Resource", json!("*")),
            ("Resource", json!("arn:aws:events:*:123456789012:event-bus/*")),
            ("Principal", json!({"AWS": ACCOUNT})),
            ("Principal", json!({"AWS": ["arn:aws:iam::1:root", "arn:aws-cn:iam::210987654321:root"]})),
            ("Principal", json!("*")),
        ] {
            assert_eq!(with(name, value.clone()), Granted::Yes, "{name} {value}");
        }
        for (name, value) in [
            ("Effect", json!("allow")),
            ("Action", json!("events:PutRule")),
            ("Resource", json!("arn:aws:events:ap-northeast-2:123456789012:event-bus/other")),
            ("Principal", json!({"AWS": "arn:aws:iam::210987654321:user/panda"})),
            ("Principal", json!({"Service": "events.amazonaws.com"})),
        ] {
            assert_eq!(with(name, value.clone()), Granted::No, "{name} {value}");
        }
    }

    #[test]
    fn conditions_and_denials_are_not_overlooked() {
        let mut conditional = account_statement(BUS, ACCOUNT);
        conditional["Condition"] = json!({"ArnLike": {"aws:SourceArn": "arn:aws:events:*:*:rule/x"}});
        assert_eq!(of(&json!([conditional])), Granted::Conditionally);
        assert_eq!(of(&json!([conditional, account_statement(BUS, ACCOUNT)])), Granted::Yes);
        let mut both = organization_statement(BUS, "o-ours123456");
        both["Condition"]["Bool"] = json!({"aws:SecureTransport": "true"});
        assert_eq!(of(&json!([both])), Granted::Conditionally);
        let mut denial = account_statement(BUS, ACCOUNT);
        denial["Effect"] = json!("Deny");
        denial["Sid"] = json!("no");
        assert_eq!(of(&json!([account_statement(BUS, ACCOUNT), denial])), Granted::Denied("no".to_owned()));
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("abc", "abcd", false),
            ("*bc", "abc", true),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }
}
