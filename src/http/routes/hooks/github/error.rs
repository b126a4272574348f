//! Errors of receiving an event of GitHub. GitHub shows the answer in its list of recent deliveries.

use crate::domain::message::message;
use crate::domain::push_hook::MAX_PAYLOAD;
use crate::domain::push_hook::payload::BrokenPayload;
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

/// Reason why an event is not received.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum PushRequestError {
    /// The signature is missing, malformed, or not by a secret of the hook.
    #[error("no valid signature")]
    SignatureInvalid,
    /// The signature is valid, but the payload is not one of its event.
    #[error("unreadable payload: {0}")]
    PayloadInvalid(BrokenPayload),
    /// The body is larger than [`MAX_PAYLOAD`], or it ended early.
    #[error("the body is too large or incomplete")]
    TooLarge,
    /// The body is neither JSON nor a form.
    #[error("the body is neither JSON nor a form")]
    MediaType,
    /// Other requests hold the memory for bodies.
    #[error("too many requests to push hooks at a time")]
    Busy,
}

problem_types! {
    PushRequestError:
    SignatureInvalid => UNAUTHORIZED, "PUSH_SIGNATURE_INVALID";
    PayloadInvalid => BAD_REQUEST, "PUSH_PAYLOAD_INVALID";
    TooLarge => PAYLOAD_TOO_LARGE, "PUSH_PAYLOAD_TOO_LARGE";
    MediaType => UNSUPPORTED_MEDIA_TYPE, "PUSH_MEDIA_TYPE";
    Busy => SERVICE_UNAVAILABLE, "PUSH_HOOKS_BUSY";
}

impl PushRequestError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let detail = match self {
            Self::SignatureInvalid => message!("PUSH_SIGNATURE_INVALID.detail"),
            Self::PayloadInvalid(broken) => message!("PUSH_PAYLOAD_INVALID.detail", reason = broken.to_string()),
            Self::TooLarge => message!("PUSH_PAYLOAD_TOO_LARGE.detail", max = MAX_PAYLOAD),
            Self::MediaType => message!("PUSH_MEDIA_TYPE.detail"),
            Self::Busy => message!("PUSH_HOOKS_BUSY.detail"),
        };
        let problem = Problem::new(self.problem_type(), detail);
        if matches!(self, Self::Busy) { problem.retry_after(RETRY_AFTER) } else { problem }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        let broken = BrokenPayload::Invalid("{member}");
        vec![Self::SignatureInvalid, Self::PayloadInvalid(broken), Self::TooLarge, Self::MediaType, Self::Busy]
    }
}
