//! Matches events against `EventBridge` event patterns.
//!
//! Supports nested objects, and arrays of exact values (text, number, true, false, null) of which one must equal the event's
//! value, or one of its values when the event has an array. `PutRule` rejects content filters (`prefix`, `anything-but`, …),
//! so that no rule behaves differently here and in AWS.

use serde_json::Value;

/// Describes why `pattern` is invalid or unsupported; `None` for a supported pattern.
pub fn flaw(pattern: &Value) -> Option<String> {
    let Value::Object(fields) = pattern else {
        return Some("Event pattern is not valid. Reason: Filter is not an object".to_owned());
    };
    if fields.is_empty() {
        return Some("Event pattern is not valid. Reason: Empty objects are not allowed".to_owned());
    }
    fields.iter().find_map(|(name, wanted)| match wanted {
        Value::Object(_) => flaw(wanted),
        Value::Array(values) if values.is_empty() => {
            Some(format!("Event pattern is not valid. Reason: Empty arrays are not allowed at \"{name}\""))
        }
        Value::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => Some(format!(
            "Event pattern is not valid. Reason: the sandbox matches exact values only, not the filter at \"{name}\""
        )),
        Value::Array(_) => None,
        _ => Some(format!("Event pattern is not valid. Reason: \"{name}\" must be an object or an array")),
    })
}

/// Returns true if `event` has, for every field of `pattern`, one of the listed values.
pub fn matches(pattern: &Value, event: &Value) -> bool {
    let Value::Object(fields) = pattern else { return false };
    fields.iter().all(|(name, wanted)| match (wanted, event.get(name)) {
        (Value::Object(_), Some(inner)) => matches(wanted, inner),
        (Value::Array(values), Some(Value::Array(found))) => found.iter().any(|one| values.contains(one)),
        (Value::Array(values), Some(found)) => values.contains(found),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"source": "aws.ecr", "resources": ["a", "b"], "detail": {"action-type": "PUSH", "repository-name": "acme-hello"}})
    }

    #[test]
    fn requires_every_field() {
        assert!(matches(&json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH", "DELETE"]}}), &event()));
        assert!(!matches(&json!({"source": ["aws.ecr"], "detail": {"action-type": ["DELETE"]}}), &event()));
        assert!(!matches(&json!({"source": ["aws.ecs"]}), &event()));
    }

    #[test]
    fn missing_fields_never_match() {
        assert!(!matches(&json!({"account": ["1"]}), &event()));
        assert!(!matches(&json!({"source": {"deeper": ["aws.ecr"]}}), &event()));
    }

    #[test]
    fn matches_one_of_several_values() {
        assert!(matches(&json!({"resources": ["b", "c"]}), &event()));
        assert!(!matches(&json!({"resources": ["c"]}), &event()));
    }

    #[test]
    fn rejects_unsupported_patterns() {
        assert_eq!(flaw(&json!({"source": ["aws.ecr"], "detail": {"result": ["SUCCESS"]}})), None);
        for bad in [
            json!([]),
            json!({}),
            json!({"source": "aws.ecr"}),
            json!({"source": []}),
            json!({"detail": {"a": [{"prefix": "x"}]}}),
        ] {
            assert!(flaw(&bad).is_some(), "{bad}");
        }
    }
}
