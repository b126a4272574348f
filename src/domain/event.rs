//! Events of a deployment: a code and parameters, rendered in any language.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::catalogue::{EventCode, Lang, REASON_TEXT, Rendered, render};
use super::failure::ErrorCode;
use super::reason::Reason;

/// An event that a step emits, before it has a sequence number.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Code in the catalogue.
    pub code: EventCode,
    /// Identifies the occurrence within the attempt: an event whose key is already stored is not stored again.
    pub key: String,
    /// Values for the placeholders of the catalogue's text.
    pub params: Map<String, Value>,
}

impl Event {
    /// Creates an event that occurs at most once in an attempt: its key is its code.
    pub fn new(code: EventCode) -> Self {
        Self { code, key: code.as_str().to_owned(), params: Map::new() }
    }

    /// Creates the event of a failure.
    pub fn failed(code: ErrorCode, reason: impl Into<Reason>) -> Self {
        Self::new(EventCode::Failed(code)).because(&reason.into())
    }

    /// Sets the reason, in English and for other languages.
    #[must_use]
    pub fn because(mut self, reason: &Reason) -> Self {
        self.params.extend(reason.to_json().map(|text| (REASON_TEXT.to_owned(), text)));
        self.with("reason", reason.to_string())
    }

    /// Sets a parameter of the catalogue's text.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut value = value.into();
        if let Value::String(text) = &mut value
            && text.contains('\0')
        {
            // Postgres rejects NUL in text and JSON: a NUL in a build's output must not make the commit fail.
            *text = text.replace('\0', "\u{fffd}");
        }
        self.params.insert(name.to_owned(), value);
        self
    }

    /// Sets a parameter if `value` is known.
    #[must_use]
    pub fn with_known(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Appends `occurrence` to the key, so that several occurrences of one code are each stored once: `build_progress:17`,
    /// `infra_started:history:5`.
    #[must_use]
    pub fn keyed(mut self, occurrence: impl std::fmt::Display) -> Self {
        self.key = format!("{}:{occurrence}", self.code.as_str());
        self
    }

    /// Renders the event as clients see it, in `lang`.
    pub fn render(&self, lang: Lang) -> Rendered {
        render(self.code.as_str(), &self.params, lang)
    }
}

/// An event as stored in `deployment_events`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Sequence number within the deployment, from 1, without gaps.
    pub seq: i64,
    /// Event id of the SSE stream.
    pub id: Uuid,
    /// Attempt that emitted the event.
    pub attempt: i32,
    /// Code in the catalogue; a newer replica may have written one that this version does not know.
    pub code: String,
    /// Values for the placeholders of the catalogue's text.
    pub params: Map<String, Value>,
    /// Time at which the event was recorded (UTC).
    pub created_at: DateTime<Utc>,
}

impl StoredEvent {
    /// Renders the event as clients see it, in `lang`.
    pub fn render(&self, lang: Lang) -> Rendered {
        render(&self.code, &self.params, lang)
    }
}
