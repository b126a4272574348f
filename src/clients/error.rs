//! The one error of every client: what kind it is decides what a step does next.

use std::fmt;

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

/// A failed outside call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call}: {message}")]
pub struct ClientError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The call that failed, as its documentation names it (`ecr:CreateRepository`, `docker build`).
    pub call: &'static str,
    /// What the other side said; never holds a credential.
    pub message: String,
}

impl ClientError {
    /// An error of `kind` from `call`.
    pub fn new(kind: ErrorKind, call: &'static str, message: impl fmt::Display) -> Self {
        Self { kind, call, message: message.to_string() }
    }
}
