//! Reasons for which a push hook or one of its deliveries cannot be created, found, changed or decided again.

use crate::domain::push_hook::MAX_PUSH_HOOKS;
use crate::domain::webhook::MAX_SECRETS;

/// Reason why a push hook or one of its deliveries cannot be created, found, changed or decided again.
#[derive(Debug, thiserror::Error)]
pub enum PushHookError {
    /// No push hook with this id exists, or is in the caller's scope.
    #[error("no push hook {0}")]
    NotFound(String),
    /// There are as many push hooks as possible.
    #[error("there are {MAX_PUSH_HOOKS} push hooks")]
    TooMany,
    /// As many secrets as possible are accepted for the push hook.
    #[error("{MAX_SECRETS} secrets of push hook {0} are valid")]
    TooManySecrets(String),
    /// The push hook has no such delivery with a valid signature.
    #[error("no delivery {0}")]
    DeliveryNotFound(String),
    /// The delivery has started this deployment.
    #[error("the delivery has started {0}")]
    DeliveryStarted(String),
}
