//! Forms of values that several views show.

use serde_json::Value;
use url::form_urlencoded;

use super::context::Page;
use crate::domain::principal::NOBODY;
use crate::domain::text::{visible, visible_json};

/// Encodes the filters of a view that are set, so that another parameter can follow: `owner=acme&repo=shop&`, or nothing.
pub fn beginning_of_query(filters: &[(&str, &String)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(filters.iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    if query.is_empty() { query } else { query + "&" }
}

/// JSON for people, on several lines, with characters that mislead in their escaped form.
pub fn pretty_json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(visible_json).collect::<Vec<_>>().join("\n")
}

impl Page {
    /// A duration in whole seconds, as [`Self::duration`].
    #[expect(clippy::cast_precision_loss, reason = "a deployment lasts far less than 2^53 seconds")]
    pub fn seconds(&self, seconds: &i64) -> String {
        self.duration(&(*seconds as f64))
    }

    /// True for an address that may be a link: others, such as `javascript:`, would act on the page.
    pub fn is_web_address(&self, address: &str) -> bool {
        url::Url::parse(address).is_ok_and(|address| matches!(address.scheme(), "http" | "https"))
    }

    /// Renders a latency with one decimal.
    pub fn millis(&self, ms: &f64) -> String {
        format!("{ms:.1} ms")
    }

    /// An author for people: misleading characters are visible, and callers that did not sign in have no name.
    pub fn author(&self, subject: &str) -> String {
        if subject == NOBODY { self.t("timeline.unknown") } else { visible(subject) }
    }

    /// A share of 0 to 1 as a percentage.
    pub fn percent(&self, share: &f64) -> String {
        format!("{:.0} %", share * 100.0)
    }

    /// The beginning of a digest, enough to compare by eye.
    pub fn digest(&self, digest: &str) -> String {
        digest.chars().take("sha256:".len() + 16).collect()
    }

    /// A duration as its two largest units: `3 m 12 s`, `2 h 5 m`, `4 d 3 h`.
    pub fn duration(&self, seconds: &f64) -> String {
        let whole = crate::http::routes::deploy::result::whole_seconds(*seconds);
        let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
        let unit = |n: i64, name: &str| self.fill(&format!("unit.{name}"), &[("n", &n.to_string())]);
        match (days, hours, minutes) {
            (0, 0, 0) => unit(seconds, "s"),
            (0, 0, _) => format!("{} {}", unit(minutes, "m"), unit(seconds, "s")),
            (0, ..) => format!("{} {}", unit(hours, "h"), unit(minutes, "m")),
            _ => format!("{} {}", unit(days, "d"), unit(hours, "h")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_has_lines_and_no_misleading_characters() {
        assert_eq!(pretty_json(&json!({"reason": "a\nb\u{202e}"})), "{\n  \"reason\": \"a\\nb\\u202e\"\n}");
    }
}
