//! The JSON envelope of every successful response.

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::json::Json;

/// Body of every successful response.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// The HTTP status: 200, or 202 for a received event.
    #[schema(example = 200)]
    pub code: u16,
    /// Human-readable summary, in Korean.
    pub message: String,
    /// Result of the request.
    pub data: T,
}

impl<T> Envelope<T> {
    /// Wraps `data` with the message and the code 200.
    pub fn new(message: &str, data: T) -> Self {
        Self { code: 200, message: message.to_owned(), data }
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
