//! The ways in which a maintenance run ends.

use crate::db::DbError;
use crate::domain::maintenance::RetentionRunState;

/// An error that ends a run early.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Engine(#[from] crate::clients::ClientError),
    /// A folder that cannot be read or removed, with its path and the cause.
    #[error("{0}")]
    Folder(String),
}

/// A run that did not fail: it has a state, or another replica has ended it.
pub(super) enum RunEnd {
    /// The run ends with this state.
    State(RetentionRunState),
    /// The run's lease expired: another replica has ended it.
    Lost,
}
