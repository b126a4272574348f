//! Errors of stored connections and their build secrets.

use crate::domain::build_spec::MAX_SECRETS;
use crate::http::error::problem::{Problem, problem_types};

/// Reason why a connection or build secret cannot be found or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection with this id exists that the caller may change.
    #[error("no connection {0}")]
    NotFound(String),
    /// An unfinished deployment uses the connection.
    #[error("the connection {id} is used by deployment {deployment}")]
    InUse {
        /// Id of the connection.
        id: String,
        /// Id of the deployment.
        deployment: String,
    },
    /// The request contradicts the connection that it renews.
    #[error("the connection {id} has another {field}")]
    Differs {
        /// Id of the connection.
        id: String,
        /// Name of the contradicting field.
        field: &'static str,
        /// The connection's value of the field.
        connected: String,
    },
    /// The connection has no build secret with this name.
    #[error("connection {connection} has no build secret {name}")]
    SecretNotFound {
        /// Id of the connection.
        connection: String,
        /// Name of the secret.
        name: String,
    },
    /// The connection has the maximum number of build secrets.
    #[error("connection {0} has too many build secrets")]
    TooManySecrets(String),
}

problem_types! {
    ConnectError:
    NotFound => NOT_FOUND, "CONNECTION_NOT_FOUND", "There is no such connection";
    InUse => CONFLICT, "CONNECTION_IN_USE", "An unfinished deployment uses the connection";
    Differs => CONFLICT, "CONNECTION_DIFFERS", "The request contradicts the connection";
    SecretNotFound => NOT_FOUND, "BUILD_SECRET_NOT_FOUND", "There is no such build secret";
    TooManySecrets => CONFLICT, "TOO_MANY_BUILD_SECRETS", "The connection has too many build secrets";
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

    fn detail(&self) -> String {
        match self {
            Self::NotFound(id) => {
                format!(
                    "There is no connection {id} that you may change. GET /api/v1/connections lists the existing ones."
                )
            }
            Self::InUse { id, deployment } => {
                format!(
                    "The deployment {deployment} uses the connection {id} and is not finished. Wait for its end or cancel it, then try again."
                )
            }
            Self::Differs { id, field, connected } => format!(
                "{field}: the connection {id} has {connected}, and renewing it cannot change that. Omit the field or give the same value, \
                 or create a new connection with POST /api/v1/connect/{}.",
                if id.starts_with("aws_") { "aws" } else { "github" }
            ),
            Self::SecretNotFound { connection, name } => format!(
                "The connection {connection} has no build secret {name}. GET /api/v1/connect/github/{connection}/secrets lists the existing ones."
            ),
            Self::TooManySecrets(id) => {
                format!(
                    "The connection {id} has {MAX_SECRETS} build secrets, the maximum for one build. Remove one that is no longer used."
                )
            }
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
