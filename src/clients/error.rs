//! The one error of every client: what kind it is decides what a step does next.

use std::fmt;

/// The longest message that is kept, in characters: messages end up in events and rows.
pub(crate) const LONGEST_MESSAGE: usize = 1_000;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing asked for does not exist.
    NotFound,
    /// The thing exists already, or is in a state that forbids the call.
    Conflict,
    /// Too many calls: wait, never fail for it.
    Throttled,
    /// Credentials are wrong, expired or lack a right.
    Denied,
    /// Nobody answered, or the answer was a fault of theirs: worth trying again.
    Unavailable,
    /// The request can never succeed as it is.
    Invalid,
}

impl ErrorKind {
    /// What an HTTP status means when nothing better is known: the same for every service.
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

/// A failed outside call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call}: {message}")]
pub struct ClientError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The call that failed, as its documentation names it (`ecr:CreateRepository`, `docker build`).
    pub call: &'static str,
    /// What the other side said, at most 1,000 characters; never holds a credential.
    pub message: String,
}

impl ClientError {
    /// An error of `kind` from `call`; a longer message is cut.
    pub fn new(kind: ErrorKind, call: &'static str, message: impl fmt::Display) -> Self {
        Self { kind, call, message: cut(&message.to_string(), LONGEST_MESSAGE) }
    }
}

/// `text` with at most `longest` characters, ending in a mark when something was left out.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    const MARK: &str = "… (cut)";
    if text.chars().nth(longest).is_none() {
        return text.to_owned();
    }
    let kept = longest.saturating_sub(MARK.chars().count());
    text.chars().take(kept).chain(MARK.chars()).collect()
}

pub(crate) use crate::domain::text::chain;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_on_a_character_at_the_stated_length() {
        let error = ClientError::new(ErrorKind::Invalid, "x", "가".repeat(1_001));
        assert_eq!(error.message.chars().count(), 1_000);
        assert!(error.message.ends_with("… (cut)"));
        assert_eq!(ClientError::new(ErrorKind::Invalid, "x", "가".repeat(1_000)).message, "가".repeat(1_000));
    }

    #[test]
    fn a_status_alone_says_what_to_do() {
        use ErrorKind::{Conflict, Denied, Invalid, NotFound, Throttled, Unavailable};
        let kinds = [401, 403, 404, 409, 429, 500, 503, 400, 301].map(ErrorKind::of_status);
        assert_eq!(kinds, [Denied, Denied, NotFound, Conflict, Throttled, Unavailable, Unavailable, Invalid, Invalid]);
    }
}
