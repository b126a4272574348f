//! Errors of stored connections and their build secrets.

use crate::commands::connect::error::ConnectError;
use crate::domain::build_spec::MAX_SECRETS;
use crate::domain::message::{Message, message};
use crate::http::error::problem::{Problem, problem_types};

problem_types! {
    ConnectError:
    NotFound => NOT_FOUND, "CONNECTION_NOT_FOUND";
    InUse => CONFLICT, "CONNECTION_IN_USE";
    Differs => CONFLICT, "CONNECTION_DIFFERS";
    SecretNotFound => NOT_FOUND, "BUILD_SECRET_NOT_FOUND";
    TooManySecrets => CONFLICT, "TOO_MANY_BUILD_SECRETS";
}

impl ConnectError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::InUse { deployment, .. } => problem.deployment(deployment),
            Self::Differs { field, .. } => problem.field(field),
            Self::NotFound(_) | Self::SecretNotFound { .. } | Self::TooManySecrets(_) => problem,
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::NotFound(id) => message!("CONNECTION_NOT_FOUND.detail", id),
            Self::InUse { id, deployment } => message!("CONNECTION_IN_USE.detail", deployment, id),
            Self::Differs { id, field, connected } => {
                let kind = if id.starts_with("aws_") { "aws" } else { "github" };
                message!("CONNECTION_DIFFERS.detail", field = *field, id, connected, kind)
            }
            Self::SecretNotFound { connection, name } => message!("BUILD_SECRET_NOT_FOUND.detail", connection, name),
            Self::TooManySecrets(id) => message!("TOO_MANY_BUILD_SECRETS.detail", id, max = MAX_SECRETS),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        let id = || "{connection}".to_owned();
        vec![
            Self::NotFound(id()),
            Self::InUse { id: id(), deployment: "{deployment}".to_owned() },
            Self::Differs { id: id(), field: "repo", connected: "{value}".to_owned() },
            Self::SecretNotFound { connection: id(), name: "{name}".to_owned() },
            Self::TooManySecrets(id()),
        ]
    }
}
