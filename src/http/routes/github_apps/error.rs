//! Errors of Apps that GitHub creates from a manifest, as clients see them.

use std::time::Duration;

use crate::commands::github_apps::error::GithubAppError;
use crate::domain::app_manifest::{EXCHANGE_SECONDS, MAX_APPS};
use crate::domain::message::message;
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    GithubAppError:
    NoPublicUrl => CONFLICT, "PUBLIC_URL_MISSING";
    NotFound => NOT_FOUND, "GITHUB_APP_NOT_FOUND";
    TooMany => CONFLICT, "TOO_MANY_GITHUB_APPS";
    StateRefused => BAD_REQUEST, "GITHUB_APP_STATE_REFUSED";
    Exchanging => CONFLICT, "GITHUB_APP_EXCHANGING";
}

impl GithubAppError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(
            self.problem_type(),
            match self {
                Self::NoPublicUrl => message!("PUBLIC_URL_MISSING.detail"),
                Self::NotFound(id) => message!("GITHUB_APP_NOT_FOUND.detail", id),
                Self::TooMany => message!("TOO_MANY_GITHUB_APPS.detail", max = MAX_APPS),
                Self::StateRefused => message!("GITHUB_APP_STATE_REFUSED.detail"),
                Self::Exchanging => message!("GITHUB_APP_EXCHANGING.detail"),
            },
        );
        match self {
            Self::StateRefused => problem.field("state"),
            Self::Exchanging => problem.retry_after(Duration::from_secs(EXCHANGE_SECONDS.into())),
            Self::NoPublicUrl | Self::NotFound(_) | Self::TooMany => problem,
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        vec![Self::NoPublicUrl, Self::NotFound("{id}".to_owned()), Self::TooMany, Self::StateRefused, Self::Exchanging]
    }
}
