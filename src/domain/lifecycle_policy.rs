//! Lifecycle policies of ECR: checks if one would delete images that rollbacks need.
//!
//! ECR applies the rules in the order of their priority, and to each image only the first that selects it. Images of deployments have tags that begin
//! with `dep_`.

use serde::Deserialize;

use super::message::{Message, message};

/// Beginning of the tags of deployments.
const TAG: &str = "dep_";

/// Longest text of a policy that AWS accepts.
const MAX_POLICY: usize = 30_720;

#[derive(Deserialize)]
struct LifecyclePolicy {
    #[serde(default)]
    rules: Vec<LifecycleRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LifecycleRule {
    rule_priority: i64,
    selection: ImageSelection,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageSelection {
    tag_status: String,
    #[serde(default)]
    tag_prefix_list: Vec<String>,
    #[serde(default)]
    tag_pattern_list: Vec<String>,
    count_type: String,
    count_number: i64,
}

/// Returns the reason for which `policy` would delete one of the newest `keep` images of deployments; none if it keeps them. Each deployment has at
/// least one image.
pub fn flaw(policy: &str, keep: u32) -> Option<Message> {
    let parsed: Option<LifecyclePolicy> =
        (policy.len() <= MAX_POLICY).then(|| serde_json::from_str(policy).ok()).flatten();
    let Some(LifecyclePolicy { mut rules }) = parsed else { return Some(message!("preflight.lifecycle_unreadable")) };
    rules.sort_by_key(|rule| rule.rule_priority);
    let rule = rules.into_iter().find(|rule| rule.selection.selects_deployments())?;
    let LifecycleRule { rule_priority: rule, selection } = rule;
    let number = selection.count_number;
    match selection.count_type.as_str() {
        "imageCountMoreThan" if number >= i64::from(keep) => None,
        "imageCountMoreThan" => Some(message!("preflight.lifecycle_count", rule, number, keep)),
        _ => Some(message!("preflight.lifecycle_age", rule, number)),
    }
}

impl ImageSelection {
    /// An image must have a tag for each prefix or pattern of the list.
    fn selects_deployments(&self) -> bool {
        match self.tag_status.as_str() {
            "any" => true,
            "tagged" => {
                self.tag_prefix_list.iter().all(|prefix| prefix.starts_with(TAG) || TAG.starts_with(prefix.as_str()))
                    && self.tag_pattern_list.iter().all(|pattern| may_match(pattern))
            }
            _ => false,
        }
    }
}

/// Reports that some tag of a deployment matches the pattern, in which `*` stands for any text.
fn may_match(pattern: &str) -> bool {
    let fixed = pattern.split('*').next().unwrap_or_default();
    let has_wildcard = fixed.len() < pattern.len();
    fixed.starts_with(TAG) || (has_wildcard && TAG.starts_with(fixed))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(priority: i64, selection: &Value) -> Value {
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn said(rules: &[Value]) -> Option<String> {
        flaw(&json!({"rules": rules}).to_string(), 10).map(|flaw| flaw.to_string())
    }

    fn count(number: i64) -> Value {
        rule(1, &json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": number}))
    }

    fn tagged(list: &str, tags: &[&str]) -> Value {
        let mut selection =
            json!({"tagStatus": "tagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7});
        selection[list] = json!(tags);
        rule(1, &selection)
    }

    #[test]
    fn keeps_as_many_images_as_releases() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[count(10)]), None);
        let few = said(&[count(9)]).unwrap();
        assert!(few.contains("rule 1") && few.contains('9') && few.contains("10"), "{few}");
    }

    #[test]
    fn age_deletes_releases() {
        let old = said(&[tagged("tagPrefixList", &["dep_"])]).unwrap();
        assert!(old.contains("7 days"), "{old}");
        for (list, tags) in [
            ("tagPrefixList", &["d"][..]),
            ("tagPrefixList", &["dep_4"]),
            ("tagPatternList", &["*"]),
            ("tagPatternList", &["dep*"]),
            ("tagPatternList", &["dep_*-2"]),
        ] {
            assert!(said(&[tagged(list, tags)]).is_some(), "{tags:?}");
        }
    }

    #[test]
    fn rules_for_other_images_do_not_matter() {
        let untagged =
            json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1});
        assert_eq!(said(&[rule(1, &untagged)]), None);
        for (list, tags) in [
            ("tagPrefixList", &["release-"][..]),
            ("tagPrefixList", &["dep_", "release-"]),
            ("tagPatternList", &["prod*"]),
            ("tagPatternList", &["dep"]),
        ] {
            assert_eq!(said(&[tagged(list, tags)]), None, "{tags:?}");
        }
    }

    #[test]
    fn first_rule_by_priority_decides() {
        let mut last = tagged("tagPatternList", &["*"]);
        last["rulePriority"] = json!(2);
        assert_eq!(said(&[last.clone(), count(10)]), None);
        last["rulePriority"] = json!(0);
        assert!(said(&[last, count(10)]).is_some());
    }

    #[test]
    fn unreadable_policy_is_reported() {
        for policy in ["", "{", r#"{"rules": [{}]}"#, &" ".repeat(MAX_POLICY + 1)] {
            assert!(flaw(policy, 10).is_some(), "{policy:?}");
        }
    }
}
