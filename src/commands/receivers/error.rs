//! Reasons for which a receiver or one of its deliveries cannot be created, found or changed.

use crate::domain::receiver::ReceiverFamily;
use crate::domain::receiver::channel::MAX_CHANNELS;
use crate::domain::webhook::{MAX_SECRETS, MAX_WEBHOOKS};

/// Reason why a receiver or one of its deliveries cannot be created, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// No webhook with this id is in the caller's scope.
    #[error("no webhook {0}")]
    WebhookNotFound(String),
    /// There are as many webhooks as possible.
    #[error("there are {MAX_WEBHOOKS} webhooks")]
    TooManyWebhooks,
    /// No channel with this id is in the caller's scope.
    #[error("no channel {0}")]
    ChannelNotFound(String),
    /// There are as many channels as possible.
    #[error("there are {MAX_CHANNELS} channels")]
    TooManyChannels,
    /// The kind of a channel cannot be changed.
    #[error("the channel's kind is {0}")]
    KindFixed(&'static str),
    /// The stored secret would be sent to another address.
    #[error("the secret must be given again, because its address changes")]
    SecretNeeded,
    /// As many secrets as possible sign for the webhook.
    #[error("{MAX_SECRETS} secrets of webhook {0} are valid")]
    TooManySecrets(String),
    /// The receiver has no such delivery with a row.
    #[error("no failed delivery {0}")]
    DeliveryNotFound(String),
    /// Only a dead delivery can be replayed.
    #[error("the delivery is {0}")]
    DeliveryNotDead(String),
    /// Retention has removed the event, so that it cannot be sent again.
    #[error("the event of delivery {0} was removed")]
    EventRemoved(String),
}

impl ReceiverError {
    /// No receiver of this family is in the caller's scope.
    pub fn not_found(family: ReceiverFamily, id: &str) -> Self {
        match family {
            ReceiverFamily::Webhooks => Self::WebhookNotFound(id.to_owned()),
            ReceiverFamily::Channels => Self::ChannelNotFound(id.to_owned()),
        }
    }

    /// There are as many receivers of the family as possible.
    pub fn too_many(family: ReceiverFamily) -> Self {
        match family {
            ReceiverFamily::Webhooks => Self::TooManyWebhooks,
            ReceiverFamily::Channels => Self::TooManyChannels,
        }
    }
}
