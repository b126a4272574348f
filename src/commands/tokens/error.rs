//! Reasons for which an API token cannot be found.

/// Reason why an API token cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No token with this id exists.
    #[error("no token {0}")]
    NotFound(String),
}
