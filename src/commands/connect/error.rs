//! Reasons for which a stored connection or build secret cannot be changed.

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
