//! Comparison of the transcripts of two AWS implementations.

use std::collections::BTreeMap;

use serde_json::Value;

/// Calls and their results, in order.
pub type Transcript = Vec<(String, Value)>;

/// A known difference, and which side is right.
pub struct Gap {
    /// Call and, behind a space, the field, as a failure names them; a `*` stands for anything.
    pub at: &'static str,
    /// Behaviour of moto, and AWS's documented behaviour.
    pub why: &'static str,
    /// Address of AWS's documentation, which decides.
    pub docs: &'static str,
}

/// Fields whose values depend on time or chance: only their types are compared.
const VOLATILE: [&str; 11] = [
    "createdAt",
    "creationDate",
    "startDate",
    "stopDate",
    "timestamp",
    "expiresAt",
    "CreatedDate",
    "LastChangedDate",
    "VersionId",
    "executionArn",
    "ARN",
];

/// Panics with every unlisted difference, and every listed one that does not occur.
pub fn compare(ours: &Transcript, theirs: &Transcript, gaps: &[Gap]) {
    let asked = |transcript: &Transcript| transcript.iter().map(|(what, _)| what.clone()).collect::<Vec<_>>();
    assert_eq!(asked(ours), asked(theirs), "both transcripts have the same calls");
    let mut found = BTreeMap::new();
    for ((what, ours), (_, theirs)) in ours.iter().zip(theirs) {
        differences(what, "", ours, theirs, &mut found);
    }
    let mut wrong: Vec<String> = Vec::new();
    for (at, (ours, theirs)) in &found {
        if !gaps.iter().any(|gap| fits(gap.at, at)) {
            wrong.push(format!("{at}: the sandbox says {ours}, moto says {theirs}"));
        }
    }
    for gap in gaps.iter().filter(|gap| !found.keys().any(|at| fits(gap.at, at))) {
        wrong.push(format!("{}: no difference any more, but listed: {} ({})", gap.at, gap.why, gap.docs));
    }
    for gap in gaps.iter().filter(|gap| !gap.docs.starts_with("https://docs.aws.amazon.com/")) {
        wrong.push(format!("{}: {} is not a page of AWS's documentation", gap.at, gap.docs));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Matches a listed difference against its place.
fn fits(pattern: &str, at: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == at };
    let Some(at) = at.strip_prefix(head) else { return false };
    at.char_indices().map(|(start, _)| &at[start..]).chain([""]).any(|tail| fits(rest, tail))
}

fn differences(what: &str, key: &str, ours: &Value, theirs: &Value, found: &mut BTreeMap<String, (Value, Value)>) {
    let below = |key: &str| format!("{what}{}{key}", if what.contains(' ') { "." } else { " " });
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                differences(&below(key), key, value, theirs.get(key).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(&below(&index.to_string()), key, ours, theirs, found);
            }
        }
        (Value::String(ours_text), Value::String(theirs_text)) if ours_text != theirs_text => {
            match (parsed(ours_text), parsed(theirs_text)) {
                // JSON in a string, as outputs and policies are: compared as JSON, not as text.
                (Some(ours), Some(theirs)) => differences(what, key, &ours, &theirs, found),
                _ if VOLATILE.contains(&key) => {}
                _ => drop(found.insert(what.to_owned(), (ours.clone(), theirs.clone()))),
            }
        }
        (Value::Number(_), Value::Number(_)) if VOLATILE.contains(&key) => {}
        _ if ours != theirs => drop(found.insert(what.to_owned(), (ours.clone(), theirs.clone()))),
        _ => {}
    }
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() || value.is_array())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(ours: &Value, theirs: &Value) -> Vec<String> {
        let mut found = BTreeMap::new();
        differences("Q", "", ours, theirs, &mut found);
        found.into_keys().collect()
    }

    #[test]
    fn extra_moto_fields_and_volatile_values_ignored() {
        assert!(at(&json!({"a": 1, "createdAt": 1.0}), &json!({"a": 1, "b": 2, "createdAt": 2.0})).is_empty());
        assert!(at(&json!({"p": "{\"a\": 1}"}), &json!({"p": "{\"a\":1}"})).is_empty());
    }

    #[test]
    fn values_missing_fields_and_types_differ() {
        let ours = json!({"a": 1, "b": {"c": [1, 2]}, "p": "{\"a\":1}", "createdAt": 1.0, "gone": true});
        let theirs = json!({"a": 2, "b": {"c": [1, 3]}, "p": "{\"a\":2}", "createdAt": "x"});
        assert_eq!(at(&ours, &theirs), ["Q a", "Q b.c.1", "Q createdAt", "Q gone", "Q p.a"]);
    }

    #[test]
    fn star_matches_anything() {
        assert!(fits("*.c", "Q a.b.c") && fits("Q *", "Q a") && fits("Q a", "Q a") && fits("*a.*", "Q a.b"));
        assert!(!fits("*.c", "Q a.b.cd") && !fits("Q a", "Q a.b"));
    }

    #[test]
    #[should_panic(expected = "no difference any more")]
    fn stale_listed_difference_reported() {
        let same: Transcript = vec![("Q".to_owned(), json!({"a": 1}))];
        compare(&same, &same, &[Gap { at: "Q a", why: "x", docs: "https://docs.aws.amazon.com/" }]);
    }
}
