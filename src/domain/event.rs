//! Events: something that happened to a deployment, named by its code and parameters, rendered in any language.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::catalogue::{EventCode, Lang, Rendered, render};
use super::failure::ErrorCode;
use super::text;

/// An event that a step tells, before it has a place in the sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub code: EventCode,
    /// Names the occurrence within the attempt: an event whose key is there already is not told again.
    pub key: String,
    /// What the catalogue's text needs.
    pub params: Map<String, Value>,
}

impl Event {
    /// An event that happens once in an attempt.
    pub fn new(code: EventCode) -> Self {
        Self { code, key: code.as_str().to_owned(), params: Map::new() }
    }

    /// The event of a failure; `reason` is cut and cleaned here, since it mostly comes from outside.
    pub fn failed(code: ErrorCode, reason: &str) -> Self {
        Self::new(EventCode::Failed(code)).with("reason", text::reason(reason))
    }

    /// Sets a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut value = value.into();
        if let Value::String(text) = &mut value
            && text.contains('\0')
        {
            // Postgres has no NUL in text or JSON: one in a build's output must not make the commit impossible.
            *text = text.replace('\0', "\u{fffd}");
        }
        self.params.insert(name.to_owned(), value);
        self
    }

    /// Sets a parameter when it is known.
    #[must_use]
    pub fn with_known(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Tells occurrences of one code apart, so that each is told once: `build_progress:17`, `infra_started:history:5`.
    #[must_use]
    pub fn keyed(mut self, occurrence: impl std::fmt::Display) -> Self {
        self.key = format!("{}:{occurrence}", self.code.as_str());
        self
    }

    /// As clients see it.
    pub fn render(&self, lang: Lang) -> Rendered {
        render(self.code.as_str(), &self.params, lang)
    }
}

/// An event as it stands in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Place in the deployment's sequence, from 1, without gaps.
    pub seq: i64,
    /// The stream's event id.
    pub id: Uuid,
    /// Attempt in which it happened.
    pub attempt: i32,
    /// Code in the catalogue.
    pub code: String,
    /// What the catalogue's text needs.
    pub params: Map<String, Value>,
    /// When it was recorded (UTC).
    pub created_at: DateTime<Utc>,
}

impl StoredEvent {
    /// As clients see it.
    pub fn render(&self, lang: Lang) -> Rendered {
        render(&self.code, &self.params, lang)
    }
}
