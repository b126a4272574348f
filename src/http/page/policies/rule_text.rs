//! A rule of a policy in words.

use chrono::{DateTime, Utc};

/// A rule in words.
pub struct RuleText {
    /// Acts that a window permits, or the name of the member.
    pub title: String,
    /// Sentences, each on its line.
    pub lines: Vec<String>,
    /// Next openings, for windows.
    pub openings: Vec<DateTime<Utc>>,
    /// The rule as JSON, where the view has no words for it.
    pub json: Option<String>,
}

impl RuleText {
    /// Creates a rule of sentences.
    pub fn new(title: String, lines: Vec<String>) -> Self {
        Self { title, lines, openings: Vec::new(), json: None }
    }
}
