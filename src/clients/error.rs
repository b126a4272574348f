//! The error type that all clients share. Its kind decides what a step does next.

use std::fmt;

use crate::domain::message::{Message, message};
use crate::domain::reason::Reason;
use crate::domain::text;

/// Maximum length of a message, in characters: messages are stored in events and rows.
pub(crate) const MAX_MESSAGE_CHARS: usize = 1_000;

/// Classification of a failed call by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The requested object does not exist.
    NotFound,
    /// The object exists already, or its state forbids the call.
    Conflict,
    /// Too many calls: the caller waits and must not fail because of it.
    Throttled,
    /// A quota of resources is used up (rules, size of a policy): only a deletion or a higher quota helps.
    LimitExceeded,
    /// The call lacks a permission, or the service refuses the controller's own credentials.
    Denied,
    /// A connection's credentials have expired, were revoked or are wrong: other credentials help, and nothing else.
    Credentials,
    /// No answer, or a server error: the call is worth repeating.
    Unavailable,
    /// Repeating the same request can never succeed.
    Invalid,
}

impl ErrorKind {
    /// Classifies an HTTP status for services that report no error code.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied,
            404 => Self::NotFound,
            409 => Self::Conflict,
            429 => Self::Throttled,
            408 | 500..=599 => Self::Unavailable,
            _ => Self::Invalid,
        }
    }
}

/// A failed call to an external service.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call}: {message}{}", .remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
pub struct ClientError {
    /// Decides whether the call is repeated.
    pub kind: ErrorKind,
    /// The call that failed, as its documentation names it (`ecr:CreateRepository`, `docker build`).
    pub call: &'static str,
    /// The message of the remote side, at most 1,000 characters; never contains a credential.
    pub message: String,
    /// Remedy in Panda's words; none where the message suffices.
    pub remedy: Option<Message>,
}

impl ClientError {
    /// Creates an error of `kind` from `call`; a message longer than [`MAX_MESSAGE_CHARS`] is truncated.
    pub fn new(kind: ErrorKind, call: &'static str, message: impl fmt::Display) -> Self {
        Self { kind, call, message: text::cut(&message.to_string(), MAX_MESSAGE_CHARS), remedy: None }
    }

    /// Adds a remedy in Panda's words to the remote side's message.
    #[must_use]
    pub fn with_remedy(self, remedy: Message) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Returns the error for people: the call and its message as they are, and the remedy in the reader's language.
    pub fn reason(&self) -> Reason {
        match &self.remedy {
            None => Reason::from(self.to_string()),
            Some(remedy) => {
                let error = Message::verbatim(format!("{}: {}", self.call, self.message));
                message!("reason.with_remedy", error, remedy = remedy.clone()).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncates_long_messages() {
        let error = ClientError::new(ErrorKind::Invalid, "x", "가".repeat(1_001));
        assert_eq!(error.message.chars().count(), 1_000);
        assert!(error.message.ends_with('…'));
        assert_eq!(ClientError::new(ErrorKind::Invalid, "x", "가".repeat(1_000)).message, "가".repeat(1_000));
    }

    #[test]
    fn classifies_http_statuses() {
        use ErrorKind::{Conflict, Denied, Invalid, NotFound, Throttled, Unavailable};
        let kinds = [401, 403, 404, 409, 429, 500, 503, 400, 301].map(ErrorKind::of_status);
        assert_eq!(kinds, [Denied, Denied, NotFound, Conflict, Throttled, Unavailable, Unavailable, Invalid, Invalid]);
    }
}
