//! The form of every successful answer.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A successful answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// Always 200.
    #[schema(example = 200)]
    pub code: u16,
    /// What was done, in words for people.
    pub message: String,
    /// The answer.
    pub data: T,
}

impl<T> Envelope<T> {
    /// `data` with its message.
    pub fn new(message: &str, data: T) -> Self {
        Self { code: 200, message: message.to_owned(), data }
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
