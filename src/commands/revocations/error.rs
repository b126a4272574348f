//! Reasons for which a revocation cannot be found.

/// Reason why a revocation cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// No revocation with this id exists.
    #[error("no revocation {0}")]
    NotFound(String),
}
