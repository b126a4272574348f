//! Errors of reading a request: its body, fields and headers.

use std::time::Duration;

use super::problem::{Problem, problem_types};
use crate::domain::message::{Message, message};
use crate::domain::validate::BrokenRule;

/// Reason why a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A field of the body, the query or a header is missing, unknown or invalid.
    #[error("{field}: {rule}")]
    Field {
        /// Name of the field, as the client wrote it.
        field: String,
        /// The violated rule, and how to comply.
        rule: BrokenRule,
    },
    /// The body is not valid JSON.
    #[error("the body is not valid JSON: {0}")]
    MalformedJson(Message),
    /// The body is larger than [`crate::http::MAX_BODY`].
    #[error("the body is too large")]
    BodyTooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", limit.as_secs_f64())]
    BodyTooSlow {
        /// Time limit that the request exceeded.
        limit: Duration,
    },
    /// The body is not declared as JSON.
    #[error("the body is not declared as JSON")]
    UnsupportedMediaType,
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
}

problem_types! {
    InputError:
    Field => BAD_REQUEST, "INVALID_FIELD";
    MalformedJson => BAD_REQUEST, "MALFORMED_JSON";
    BodyTooLarge => PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE";
    BodyTooSlow => REQUEST_TIMEOUT, "BODY_TIMED_OUT";
    UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE";
    IdempotencyKeyReused => UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED";
}

impl InputError {
    pub(super) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::Field { field, .. } => problem.field(field),
            Self::IdempotencyKeyReused => problem.field("Idempotency-Key"),
            _ => problem,
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::Field { field, rule } => message!("INVALID_FIELD.detail", field, rule = rule.clone()),
            Self::MalformedJson(reason) => message!("MALFORMED_JSON.detail", reason = reason.clone()),
            Self::BodyTooLarge => message!("BODY_TOO_LARGE.detail", max = crate::http::MAX_BODY),
            Self::BodyTooSlow { limit } => message!("BODY_TIMED_OUT.detail", seconds = limit.as_secs_f64()),
            Self::UnsupportedMediaType => message!("UNSUPPORTED_MEDIA_TYPE.detail"),
            Self::IdempotencyKeyReused => message!("IDEMPOTENCY_KEY_REUSED.detail"),
        }
    }

    #[cfg(test)]
    pub(super) fn samples() -> Vec<Self> {
        vec![
            Self::Field { field: "{field}".to_owned(), rule: Message::verbatim("{rule}") },
            Self::MalformedJson(Message::verbatim("{reason}")),
            Self::BodyTooLarge,
            Self::BodyTooSlow { limit: Duration::from_secs(10) },
            Self::UnsupportedMediaType,
            Self::IdempotencyKeyReused,
        ]
    }
}
