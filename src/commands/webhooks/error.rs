//! Reasons for which a webhook or one of its deliveries cannot be created, found or changed.

use crate::domain::webhook::{MAX_SECRETS, MAX_WEBHOOKS};

/// Reason why a webhook or one of its deliveries cannot be created, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No webhook with this id is in the caller's scope.
    #[error("no webhook {0}")]
    NotFound(String),
    /// There are as many webhooks as possible.
    #[error("there are {MAX_WEBHOOKS} webhooks")]
    TooMany,
    /// As many secrets as possible sign for the webhook.
    #[error("{MAX_SECRETS} secrets of webhook {0} are valid")]
    TooManySecrets(String),
    /// The webhook has no such delivery with a row.
    #[error("no failed delivery {0}")]
    DeliveryNotFound(String),
    /// Only a dead delivery can be replayed.
    #[error("the delivery is {0}")]
    DeliveryNotDead(String),
    /// Retention has removed the event, so that it cannot be sent again.
    #[error("the event of delivery {0} was removed")]
    EventRemoved(String),
}
