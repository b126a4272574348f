//! The resource policy of a bus, which permits accounts to put events on it.

use serde_json::{Value, json};

use crate::accounts::ORGANIZATION;

/// The policy as JSON text for `DescribeEventBus`.
pub fn document(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// Returns true if a statement permits `account` to put events on the bus `arn`. The only condition that can hold is the one for
/// the organization that both accounts belong to.
pub fn permits(statements: &[Value], account: &str, arn: &str) -> bool {
    let root = format!("arn:aws:iam::{account}:root");
    let has = |value: &Value, wanted: &[&str]| match value {
        Value::String(text) => wanted.contains(&text.as_str()),
        Value::Array(many) => many.iter().any(|item| item.as_str().is_some_and(|text| wanted.contains(&text))),
        _ => false,
    };
    let organization = json!({"StringEquals": {"aws:PrincipalOrgID": ORGANIZATION}});
    let everyone = Value::String("*".to_owned());
    statements.iter().any(|statement| {
        let principal = &statement["Principal"];
        statement["Effect"] == "Allow"
            && statement.get("Condition").is_none_or(|condition| *condition == organization)
            && (*principal == everyone || has(&principal["AWS"], &[&root, account, "*"]))
            && has(&statement["Action"], &["events:PutEvents", "events:*", "*"])
            && has(&statement["Resource"], &[arn, "*"])
    })
}
