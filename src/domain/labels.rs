//! Labels of deployments: names such as `team` with their values, by which reports group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::{Message, message};
use super::text;
use super::validate::FieldRefusal;

/// Maximum number of labels of a policy or a request.
pub const MAX_LABELS: usize = 8;

/// Maximum length of a label's name, in characters.
pub const MAX_KEY: usize = 31;

/// Maximum length of a label's value, in characters.
pub const MAX_VALUE: usize = 63;

/// Values of labels by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Reports that there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks number, names and values.
    ///
    /// # Errors
    /// `labels`, or the label whose value breaks its rule, such as `labels.team`.
    pub fn checked(self) -> Result<Self, FieldRefusal> {
        if self.0.len() > MAX_LABELS {
            return Err(FieldRefusal::new("labels", message!("rule.labels_max", max = MAX_LABELS)));
        }
        for (key, value) in &self.0 {
            check_key(key).map_err(|rule| FieldRefusal::new("labels", rule))?;
            check_value(value).map_err(|rule| FieldRefusal::new(format!("labels.{key}"), rule))?;
        }
        Ok(self)
    }
}

/// Checks the name of a label.
///
/// # Errors
/// The rule that it breaks.
pub fn check_key(key: &str) -> Result<(), Message> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let ok = key.len() <= MAX_KEY && key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(rest);
    if ok { Ok(()) } else { Err(message!("rule.label_key", max = MAX_KEY, key = format!("{:?}", text::cut(key, 40)))) }
}

/// Checks the value of a label.
///
/// # Errors
/// The rule that it breaks.
pub fn check_value(value: &str) -> Result<(), Message> {
    let ok = (1..=MAX_VALUE).contains(&value.chars().count())
        && value.trim() == value
        && !value.contains(text::is_unfit_for_names);
    if ok { Ok(()) } else { Err(message!("rule.label_value", max = MAX_VALUE)) }
}

/// Parses one label of a filter, such as `team:payments`.
///
/// # Errors
/// The rule that it breaks.
pub fn parse_label(text: &str) -> Result<(String, String), Message> {
    let (key, value) = text.split_once(':').ok_or_else(|| message!("rule.label_filter"))?;
    check_key(key)?;
    check_value(value)?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn refused(pairs: &[(&str, &str)]) -> String {
        labels(pairs).checked().unwrap_err().field
    }

    #[test]
    fn refuses_labels_with_field_and_bound() {
        let long = "가".repeat(MAX_VALUE);
        assert!(labels(&[("team", "결제 팀"), ("a-b_1", &long)]).checked().is_ok());
        for key in ["", "Team", "1a", "_a", "a b", "a:b", "팀", &"a".repeat(MAX_KEY + 1)] {
            assert_eq!(refused(&[(key, "x")]), "labels", "{key}");
        }
        for value in ["", " ", " x", "a\nb", "a\u{202e}b", "a\0", &format!("{long}x")] {
            assert_eq!(refused(&[("team", value)]), "labels.team", "{value:?}");
        }
        let many: Vec<String> = (0..=MAX_LABELS).map(|n| format!("k{n}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "x")).collect();
        assert_eq!(refused(&many), "labels");
        assert!(labels(&many[1..]).checked().is_ok());
    }

    #[test]
    fn parses_label_of_a_filter() {
        assert_eq!(parse_label("team:a:b").unwrap(), ("team".to_owned(), "a:b".to_owned()));
        for wrong in ["team", "team:", ":x", "Team:x", ""] {
            assert!(parse_label(wrong).is_err(), "{wrong}");
        }
    }
}
