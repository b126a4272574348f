//! Errors of the endpoints of push hooks.

use crate::commands::push_hooks::error::PushHookError;
use crate::domain::message::message;
use crate::domain::push_hook::MAX_PUSH_HOOKS;
use crate::domain::webhook::MAX_SECRETS;
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    PushHookError:
    NotFound => NOT_FOUND, "HOOK_NOT_FOUND";
    TooMany => CONFLICT, "TOO_MANY_HOOKS";
    TooManySecrets => CONFLICT, "TOO_MANY_HOOK_SECRETS";
    DeliveryNotFound => NOT_FOUND, "PUSH_DELIVERY_NOT_FOUND";
    DeliveryStarted => CONFLICT, "PUSH_DELIVERY_STARTED";
}

impl PushHookError {
    pub(in crate::http) fn problem(&self) -> Problem {
        Problem::new(
            self.problem_type(),
            match self {
                Self::NotFound(id) => message!("HOOK_NOT_FOUND.detail", id),
                Self::TooMany => message!("TOO_MANY_HOOKS.detail", max = MAX_PUSH_HOOKS),
                Self::TooManySecrets(id) => message!("TOO_MANY_HOOK_SECRETS.detail", id, max = MAX_SECRETS),
                Self::DeliveryNotFound(id) => message!("PUSH_DELIVERY_NOT_FOUND.detail", id),
                Self::DeliveryStarted(deployment) => message!("PUSH_DELIVERY_STARTED.detail", deployment),
            },
        )
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![
            Self::NotFound("{hook}".to_owned()),
            Self::TooMany,
            Self::TooManySecrets("{hook}".to_owned()),
            Self::DeliveryNotFound("{delivery}".to_owned()),
            Self::DeliveryStarted("{deployment}".to_owned()),
        ]
    }
}
