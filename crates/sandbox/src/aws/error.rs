//! An error response of AWS: status, code and message.

use axum::http::StatusCode;

/// The error of a call.
#[derive(Debug)]
pub struct AwsError {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
}

impl AwsError {
    /// An error of the caller: 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: code.into(), message: message.into() }
    }

    /// An error with 403, as Query services answer for invalid credentials.
    pub fn forbidden(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::new(code, message) }
    }

    /// An error of AWS: 500.
    pub fn server(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..Self::new(code, message) }
    }
}
