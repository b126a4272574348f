//! Errors of reading a request: its body, fields and headers.

use std::time::Duration;

use super::problem::{Problem, problem_types};

/// Reason why a request cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A field of the body, the query or a header is missing, unknown or invalid.
    #[error("{field}: {reason}")]
    Field {
        /// Name of the field, as the client wrote it.
        field: String,
        /// The violated rule, and how to comply.
        reason: String,
    },
    /// The body is not valid JSON.
    #[error("the body is not valid JSON: {0}")]
    MalformedJson(String),
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
    Field => BAD_REQUEST, "INVALID_FIELD", "A field is not valid";
    MalformedJson => BAD_REQUEST, "MALFORMED_JSON", "The body is not JSON";
    BodyTooLarge => PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "The body is too large";
    BodyTooSlow => REQUEST_TIMEOUT, "BODY_TIMED_OUT", "The body did not arrive in time";
    UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", "The body is not declared as JSON";
    IdempotencyKeyReused => UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED", "The idempotency key was used for another body";
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

    fn detail(&self) -> String {
        match self {
            Self::Field { field, reason } => format!("{field}: {reason}"),
            Self::MalformedJson(reason) => {
                format!("The body is not valid JSON: {reason}. Send one JSON object, encoded in UTF-8.")
            }
            Self::BodyTooLarge => format!("The body may have at most {} bytes.", crate::http::MAX_BODY),
            Self::BodyTooSlow { limit } => {
                format!("The body did not arrive within {} s. Send the whole request again.", limit.as_secs_f64())
            }
            Self::UnsupportedMediaType => "Send the header Content-Type: application/json.".to_owned(),
            Self::IdempotencyKeyReused => {
                "This Idempotency-Key came with a different body before. Use a new key for a new request.".to_owned()
            }
        }
    }

    #[cfg(test)]
    pub(super) fn samples() -> Vec<Self> {
        vec![
            Self::Field { field: "{field}".to_owned(), reason: "{rule}".to_owned() },
            Self::MalformedJson("{reason}".to_owned()),
            Self::BodyTooLarge,
            Self::BodyTooSlow { limit: Duration::from_secs(10) },
            Self::UnsupportedMediaType,
            Self::IdempotencyKeyReused,
        ]
    }
}
