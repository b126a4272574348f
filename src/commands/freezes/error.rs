//! Reasons for which a freeze cannot be created or found.

use crate::domain::freeze::MAX_PENDING;

/// Reason why a freeze cannot be created or found.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// No freeze with this id concerns a deployment of the caller's scope.
    #[error("no freeze {0}")]
    NotFound(String),
    /// As many freezes as possible are in force or to come.
    #[error("{MAX_PENDING} freezes are in force or to come")]
    TooMany,
}
