//! Errors of connecting an AWS account, as clients see them.

use secrecy::{ExposeSecret as _, SecretString};

use crate::clients::ClientError;
use crate::clients::aws::RoleRefusal;
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

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
    /// Another connection of the same tenant has the same identity; holds its id.
    #[error("the connection {0} has this identity")]
    IdentityTaken(String),
    /// The role was connected with an external id that a caller chose, before Panda derived it; holds the connection's id.
    #[error("connection {0} must be renewed: its external id was not derived by Panda")]
    Outdated(String),
}

problem_types! {
    AwsConnectError:
    Refused => BAD_REQUEST, "AWS_CREDENTIALS_REFUSED", "AWS refuses the credentials";
    Unavailable => BAD_GATEWAY, "AWS_UNAVAILABLE", "AWS is unavailable";
    NotTrusted => CONFLICT, "AWS_ROLE_NOT_TRUSTING", "The role does not let Panda assume it";
    Open => CONFLICT, "AWS_ROLE_WITHOUT_EXTERNAL_ID", "The role does not require your external id";
    IdentityTaken => CONFLICT, "CONNECTION_EXISTS", "Another connection has these credentials";
    Outdated => CONFLICT, "CONNECTION_OUTDATED", "The connection must be renewed";
}

impl AwsConnectError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::Refused { field, .. } => problem.field(field),
            Self::Unavailable(_) => problem.retry_after(RETRY_AFTER),
            Self::NotTrusted { external_id, .. } | Self::Open { external_id, .. } => {
                problem.field("roleArn").external_id(external_id)
            }
            Self::IdentityTaken(_) | Self::Outdated(_) => problem,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Refused { field, reason } => {
                format!(
                    "{field}: AWS refuses the credentials ({reason}). Check them, and that they belong to this region's partition."
                )
            }
            Self::Unavailable(error) => {
                format!("AWS could not check the credentials ({error}). Nothing was stored; try again.")
            }
            Self::NotTrusted { external_id, controller, reason } => {
                let remedy = remedy(external_id, controller);
                format!("roleArn: AWS does not let Panda assume the role with your external id ({reason}). {remedy}")
            }
            Self::Open { external_id, controller } => format!(
                "roleArn: the role can be assumed without your external id or with another one, so any user of this server could use it. {}",
                remedy(external_id, controller)
            ),
            Self::IdentityTaken(other) => format!(
                "The connection {other} has the same account, region and identity. Renew that one, or remove it first \
                 (DELETE /api/v1/connections/{other})."
            ),
            Self::Outdated(id) => format!(
                "The role of the connection {id} was connected with an external id that Panda did not derive, so the role may belong to another tenant. \
                 Renew it with PUT /api/v1/connect/aws/{id} and its roleArn (panda connect aws --renew {id} --role-arn ARN), then try again."
            ),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        use crate::clients::ErrorKind;
        let external_id = || SecretString::from("{externalId}");
        let (controller, reason) = ("{controller}".to_owned(), "{reason}".to_owned());
        vec![
            Self::Refused { field: "accessKeyId", reason: reason.clone() },
            Self::Unavailable(ClientError::new(ErrorKind::Unavailable, "{call}", "{reason}")),
            Self::NotTrusted { external_id: external_id(), controller: controller.clone(), reason },
            Self::Open { external_id: external_id(), controller },
            Self::IdentityTaken("{connection}".to_owned()),
            Self::Outdated("{connection}".to_owned()),
        ]
    }
}

/// Instructions for the condition that the trust policy needs.
fn remedy(external_id: &SecretString, controller: &str) -> String {
    format!(
        "Let its trust policy allow sts:AssumeRole to the account {controller} with the condition \
         {{\"StringEquals\": {{\"sts:ExternalId\": \"{}\"}}}} and in no other way, then connect again (AWS may take a minute to apply a change).",
        external_id.expose_secret()
    )
}

problem_types! {
    RoleRefusal:
    NotARole => BAD_REQUEST, "INVALID_FIELD", "Panda may not assume this role";
    OtherPartition => BAD_REQUEST, "AWS_PARTITION_DIFFERS", "Panda may not assume this role";
    ControllerAccount => BAD_REQUEST, "AWS_CONTROLLER_ROLE", "Panda may not assume this role";
    ControllerUnknown => SERVICE_UNAVAILABLE, "AWS_CONTROLLER_UNKNOWN", "The server's own AWS account is not known";
}

impl RoleRefusal {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::ControllerUnknown(_) => problem.retry_after(RETRY_AFTER),
            Self::NotARole(_) | Self::OtherPartition { .. } | Self::ControllerAccount { .. } => {
                problem.field("roleArn")
            }
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotARole(rule) => format!("roleArn: {rule}"),
            Self::OtherPartition { .. } => format!("roleArn: {self}. Connect access keys of that account instead."),
            Self::ControllerAccount { .. } => format!(
                "roleArn: {self}. Connect a role of another account, or access keys; or ask the server's operator to allow the role with that option."
            ),
            Self::ControllerUnknown(_) => format!(
                "At the moment {self}. Nothing was stored; try again, and if the error persists, ask the server's operator to check its AWS \
                 credentials."
            ),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        use crate::clients::ErrorKind;
        vec![
            Self::NotARole("{rule}".to_owned()),
            Self::OtherPartition { role: "{partition}".to_owned(), controller: "{partition}".to_owned() },
            Self::ControllerAccount { role_arn: "{role}".to_owned(), account: "{account}".to_owned() },
            Self::ControllerUnknown(ClientError::new(ErrorKind::Denied, "{call}", "{reason}")),
        ]
    }
}
