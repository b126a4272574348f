//! What a deployment was asked for: what to deploy, how to build it, and why.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::build_spec::BuildSpec;
use super::source::Source;

/// What a deployment is for. Panda treats all kinds the same; reports tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A release as planned.
    #[default]
    Planned,
    /// A fix that could not wait.
    Hotfix,
    /// Back to what ran before.
    Rollback,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Planned, Self::Hotfix, Self::Rollback];

    /// As on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Hotfix => "hotfix",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| "must be planned, hotfix or rollback".to_owned())
    }
}

/// What a deployment was asked for, all of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// What to deploy.
    pub source: Source,
    /// How to build it; what is left out may be in the repository's `panda.toml`.
    pub build: BuildSpec,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// What for.
    pub kind: Purpose,
}

impl Requested {
    /// The newest commit of a branch, with Panda's defaults.
    pub fn branch(name: impl Into<String>) -> Self {
        let source = Source::Revision(super::source::Revision::Branch(name.into()));
        Self { source, build: BuildSpec::default(), reason: None, kind: Purpose::default() }
    }

    /// What the column `build` holds: null when nothing was chosen.
    pub fn build_column(&self) -> Option<Value> {
        if self.build.is_empty() { None } else { serde_json::to_value(&self.build).ok() }
    }

    /// The same as the fields of a request; what was left out is left out. For answers and the audit.
    pub fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        details.insert(self.source.kind().to_owned(), Value::from(self.source.name()));
        details.extend(self.build_column().map(|build| ("build".to_owned(), build)));
        details.extend(self.reason.as_deref().map(|reason| ("reason".to_owned(), Value::from(reason))));
        details.insert("kind".to_owned(), Value::from(self.kind.as_str()));
        details
    }

    /// What the columns of a row say.
    ///
    /// # Errors
    /// What cannot be read of it.
    pub fn of_row(branch: &str, build: Option<Value>, reason: Option<String>, kind: &str) -> Result<Self, String> {
        let build = build.map_or(Ok(BuildSpec::default()), serde_json::from_value);
        Ok(Self {
            source: Source::of_column(branch),
            build: build.map_err(|error| format!("column build cannot be read: {error}"))?,
            reason,
            kind: kind.parse().map_err(|rule| format!("column kind {rule}"))?,
        })
    }
}
