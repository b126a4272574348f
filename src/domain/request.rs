//! Content of a deployment request: source, build options, reason and purpose.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::build_spec::BuildSpec;
use super::labels::Labels;
use super::message::{Message, message};
use super::source::Source;

/// Purpose of a deployment. Panda treats all purposes the same; reports distinguish them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = Message, parse_err_fn = unknown_purpose)]
pub enum Purpose {
    /// Regular release, as planned.
    #[default]
    Planned,
    /// Urgent fix outside the plan.
    Hotfix,
    /// Return to an earlier version.
    Rollback,
}

impl Purpose {
    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown_purpose(_: &str) -> Message {
    message!("rule.purpose")
}

/// Validated content of a deployment request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// Revision or image to deploy.
    pub source: Source,
    /// Build options; absent ones may be in the repository's `panda.toml`.
    pub build: BuildSpec,
    /// Reason in the caller's words.
    pub reason: Option<String>,
    /// Purpose, for reports only.
    pub kind: Purpose,
    /// Labels that replace those of the policy, name by name.
    pub labels: Labels,
}

impl Requested {
    /// Requests the newest commit of a branch, with Panda's defaults.
    pub fn branch(name: impl Into<String>) -> Self {
        let source = Source::Revision(super::source::Revision::Branch(name.into()));
        Self { source, build: BuildSpec::default(), reason: None, kind: Purpose::default(), labels: Labels::default() }
    }

    /// Returns the value of the column `build`: null if no option was chosen.
    pub fn build_column(&self) -> Option<Value> {
        if self.build.is_empty() { None } else { serde_json::to_value(&self.build).ok() }
    }

    /// Returns the fields of the request without absent ones, for answers and the audit.
    pub fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert(self.source.kind().to_owned(), Value::from(self.source.name()));
        details.extend(self.build_column().map(|build| ("build".to_owned(), build)));
        details.extend(self.reason.as_deref().map(|reason| ("reason".to_owned(), Value::from(reason))));
        details.insert("kind".to_owned(), Value::from(self.kind.as_str()));
        if !self.labels.is_empty() {
            details.insert("labels".to_owned(), json!(self.labels));
        }
        details
    }

    /// Parses the columns of a row.
    ///
    /// # Errors
    /// The column that cannot be parsed.
    pub fn of_row(branch: &str, build: Option<Value>, reason: Option<String>, kind: &str) -> Result<Self, String> {
        let build = build.map_or(Ok(BuildSpec::default()), serde_json::from_value);
        Ok(Self {
            source: Source::of_column(branch),
            build: build.map_err(|error| format!("column build cannot be read: {error}"))?,
            reason,
            kind: kind.parse().map_err(|rule: Message| format!("column kind {rule}"))?,
            labels: Labels::default(),
        })
    }
}
