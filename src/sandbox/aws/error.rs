//! An error as AWS tells it: a code, a message, a status.

use axum::http::StatusCode;

/// What a call answers instead of a result.
#[derive(Debug)]
pub struct AwsError {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
}

impl AwsError {
    /// The caller's fault: 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: code.into(), message: message.into() }
    }

    /// 403, as Query services answer for credentials.
    pub fn forbidden(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::new(code, message) }
    }

    /// AWS's own fault: 500.
    pub fn server(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..Self::new(code, message) }
    }
}
