//! Errors of the endpoints of webhooks.

use crate::commands::receivers::error::ReceiverError;
use crate::domain::message::message;
use crate::domain::receiver::channel::MAX_CHANNELS;
use crate::domain::webhook::{MAX_SECRETS, MAX_WEBHOOKS};
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    ReceiverError:
    WebhookNotFound => NOT_FOUND, "WEBHOOK_NOT_FOUND";
    TooManyWebhooks => CONFLICT, "TOO_MANY_WEBHOOKS";
    ChannelNotFound => NOT_FOUND, "CHANNEL_NOT_FOUND";
    TooManyChannels => CONFLICT, "TOO_MANY_CHANNELS";
    KindFixed => CONFLICT, "CHANNEL_KIND_FIXED";
    SecretNeeded => CONFLICT, "CHANNEL_SECRET_NEEDED";
    TooManySecrets => CONFLICT, "TOO_MANY_WEBHOOK_SECRETS";
    DeliveryNotFound => NOT_FOUND, "DELIVERY_NOT_FOUND";
    DeliveryNotDead => CONFLICT, "DELIVERY_NOT_DEAD";
    EventRemoved => CONFLICT, "DELIVERY_EVENT_REMOVED";
}

impl ReceiverError {
    pub(in crate::http) fn problem(&self) -> Problem {
        Problem::new(
            self.problem_type(),
            match self {
                Self::WebhookNotFound(id) => message!("WEBHOOK_NOT_FOUND.detail", id),
                Self::TooManyWebhooks => message!("TOO_MANY_WEBHOOKS.detail", max = MAX_WEBHOOKS),
                Self::ChannelNotFound(id) => message!("CHANNEL_NOT_FOUND.detail", id),
                Self::TooManyChannels => message!("TOO_MANY_CHANNELS.detail", max = MAX_CHANNELS),
                Self::KindFixed(kind) => message!("CHANNEL_KIND_FIXED.detail", kind = (*kind).to_owned()),
                Self::SecretNeeded => message!("CHANNEL_SECRET_NEEDED.detail"),
                Self::TooManySecrets(id) => message!("TOO_MANY_WEBHOOK_SECRETS.detail", id, max = MAX_SECRETS),
                Self::DeliveryNotFound(id) => message!("DELIVERY_NOT_FOUND.detail", id),
                Self::DeliveryNotDead(state) => message!("DELIVERY_NOT_DEAD.detail", state),
                Self::EventRemoved(id) => message!("DELIVERY_EVENT_REMOVED.detail", id),
            },
        )
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::WebhookNotFound("{webhook}".to_owned()),
            Self::TooManyWebhooks,
            Self::ChannelNotFound("{channel}".to_owned()),
            Self::TooManyChannels,
            Self::KindFixed("{kind}"),
            Self::SecretNeeded,
            Self::TooManySecrets("{webhook}".to_owned()),
            Self::DeliveryNotFound("{delivery}".to_owned()),
            Self::DeliveryNotDead("{state}".to_owned()),
            Self::EventRemoved("{delivery}".to_owned()),
        ]
    }
}
