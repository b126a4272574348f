//! Reasons for which an AWS account cannot be connected.

use secrecy::SecretString;

use crate::clients::ClientError;

/// Reason why an AWS account cannot be connected, or a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AwsConnectError {
    /// AWS rejected the credentials.
    #[error("AWS refuses the credentials: {reason}")]
    Refused {
        /// Name of the field with the credentials.
        field: &'static str,
        /// Error message of AWS, without secrets.
        reason: String,
    },
    /// AWS could not be reached, or failed.
    #[error("AWS is unavailable: {0}")]
    Unavailable(ClientError),
    /// The role cannot be assumed with the caller's external id.
    #[error("the role does not let Panda assume it: {reason}")]
    NotTrusted {
        /// External id derived for the caller's scope.
        external_id: SecretString,
        /// Account of the controller, which the role must trust.
        controller: String,
        /// Error message of AWS, without secrets.
        reason: String,
    },
    /// The role can be assumed without the caller's external id.
    #[error("the role can be assumed without the external id")]
    Open {
        /// External id derived for the caller's scope.
        external_id: SecretString,
        /// Account of the controller, which the role trusts.
        controller: String,
    },
    /// A role with the planned name has another trust policy or inline policy; holds its ARN.
    #[error("the role {0} has another content than planned")]
    RuleRoleDiffers(String),
    /// AWS refused to look up or create the role of the rules; holds its message, without secrets.
    #[error("AWS refuses the role of the rules: {0}")]
    RuleRoleRefused(String),
    /// There is no execution with this ARN in the controller's account and region.
    #[error("no execution {0}")]
    NoExecution(String),
    /// AWS refused to read an execution or its secret; holds its message.
    #[error("AWS refuses to read the execution: {0}")]
    ExecutionRefused(String),
    /// Another connection of the same tenant has the same identity; holds its id.
    #[error("the connection {0} has this identity")]
    IdentityTaken(String),
}
