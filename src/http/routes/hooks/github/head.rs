//! The headers of a request of GitHub.

use axum::http::{HeaderMap, header};
use uuid::Uuid;

use super::error::PushRequestError;
use crate::domain::message::message;
use crate::domain::push_hook::signature::PushSignature;
use crate::http::error::ApiError;

/// Longest name of an event, in bytes.
const MAX_EVENT: usize = 64;

/// Form of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadForm {
    /// The payload itself, as JSON.
    Json,
    /// A form whose member `payload` is the payload.
    Form,
}

/// Valid headers of a request.
#[derive(Clone, Debug)]
pub struct PushHead {
    /// Id of the header `X-GitHub-Delivery`.
    pub delivery: Uuid,
    /// Name of the header `X-GitHub-Event`.
    pub event: String,
    /// `X-Hub-Signature-256`; none where it is missing or malformed.
    pub signature: Option<PushSignature>,
    /// Form that `Content-Type` declares.
    pub form: PayloadForm,
}

impl PushHead {
    /// Reads the headers.
    ///
    /// # Errors
    /// The media type, or the header that is invalid. A missing or malformed signature is none.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = text(header::CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
        let form = match media_type.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" => PayloadForm::Json,
            "application/x-www-form-urlencoded" => PayloadForm::Form,
            _ => return Err(PushRequestError::MediaType.into()),
        };
        let delivery = text("x-github-delivery").and_then(|value| value.parse().ok());
        let delivery = delivery.ok_or_else(|| ApiError::field("X-GitHub-Delivery", message!("rule.push_delivery")))?;
        let is_event = |event: &&str| {
            (1..=MAX_EVENT).contains(&event.len())
                && event.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let event = text("x-github-event").filter(is_event);
        let event = event.ok_or_else(|| ApiError::field("X-GitHub-Event", message!("rule.push_event")))?;
        let signature = text("x-hub-signature-256").and_then(PushSignature::parse);
        Ok(Self { delivery, event: event.to_owned(), signature, form })
    }
}
