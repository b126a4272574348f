//! Errors of the endpoints of webhooks.

use crate::commands::webhooks::error::WebhookError;
use crate::domain::message::message;
use crate::domain::webhook::{MAX_SECRETS, MAX_WEBHOOKS};
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    WebhookError:
    NotFound => NOT_FOUND, "WEBHOOK_NOT_FOUND";
    TooMany => CONFLICT, "TOO_MANY_WEBHOOKS";
    TooManySecrets => CONFLICT, "TOO_MANY_WEBHOOK_SECRETS";
    DeliveryNotFound => NOT_FOUND, "DELIVERY_NOT_FOUND";
    DeliveryNotDead => CONFLICT, "DELIVERY_NOT_DEAD";
    EventRemoved => CONFLICT, "DELIVERY_EVENT_REMOVED";
}

impl WebhookError {
    pub(in crate::http) fn problem(&self) -> Problem {
        Problem::new(
            self.problem_type(),
            match self {
                Self::NotFound(id) => message!("WEBHOOK_NOT_FOUND.detail", id),
                Self::TooMany => message!("TOO_MANY_WEBHOOKS.detail", max = MAX_WEBHOOKS),
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
            Self::NotFound("{webhook}".to_owned()),
            Self::TooMany,
            Self::TooManySecrets("{webhook}".to_owned()),
            Self::DeliveryNotFound("{delivery}".to_owned()),
            Self::DeliveryNotDead("{state}".to_owned()),
            Self::EventRemoved("{delivery}".to_owned()),
        ]
    }
}
