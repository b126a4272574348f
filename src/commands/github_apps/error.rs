//! Reasons for which an App cannot be created from a manifest, found or used.

use crate::domain::app_manifest::MAX_APPS;

/// Reason for which an App cannot be created from a manifest, found or used.
#[derive(Debug, thiserror::Error)]
pub enum GithubAppError {
    /// The address of the page is not configured, so that GitHub could not lead back to it.
    #[error("PANDA_PUBLIC_URL is not set")]
    NoPublicUrl,
    /// No App with this id exists in the caller's scope, or GitHub has not created it.
    #[error("no App {0}")]
    NotFound(String),
    /// There are as many Apps as possible.
    #[error("there are {MAX_APPS} Apps")]
    TooMany,
    /// The caller has begun no App with this state, or its time is over, or it was used with another code.
    #[error("the state is not accepted")]
    StateRefused,
    /// The code is being exchanged, or the process that exchanged it has died.
    #[error("the code is being exchanged")]
    Exchanging,
}
