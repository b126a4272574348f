//! What stands in the way of connecting an AWS account, as answers.

use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};

use super::SOON;
use crate::clients::ClientError;
use crate::clients::aws::RoleRefusal;
use crate::http::problem::Problem;

/// Why an AWS account is not connected, or a connection to one not used.
#[derive(Debug, thiserror::Error)]
pub enum AwsProblem {
    /// AWS refuses the credentials.
    #[error("AWS refuses the credentials: {reason}")]
    Refused {
        /// The field that holds them.
        field: &'static str,
        /// What AWS said.
        reason: String,
    },
    /// AWS did not answer.
    #[error("AWS cannot be asked: {0}")]
    Unavailable(ClientError),
    /// The role is none that Panda assumes.
    #[error(transparent)]
    Role(#[from] RoleRefusal),
    /// The role cannot be assumed with the caller's external id.
    #[error("the role does not let Panda assume it: {reason}")]
    NotTrusted {
        /// The external id.
        external_id: SecretString,
        /// The controller's account, which the role has to trust.
        controller: String,
        /// What AWS said.
        reason: String,
    },
    /// The role can be assumed without the caller's external id.
    #[error("the role can be assumed without the external id")]
    Open {
        /// The external id.
        external_id: SecretString,
        /// The controller's account, which the role trusts.
        controller: String,
    },
    /// Another connection of the same tenant has the identity.
    #[error("the connection {0} has this identity")]
    IdentityTaken(String),
    /// The connection's role was connected with an external id that a caller chose.
    #[error("the role of connection {0} has to be connected again")]
    Outdated(String),
}

/// The condition that a trust policy needs.
fn remedy(external_id: &SecretString, controller: &str) -> String {
    format!(
        "Let its trust policy allow sts:AssumeRole to the account {controller} with the condition \
         {{\"StringEquals\": {{\"sts:ExternalId\": \"{}\"}}}} and in no other way, then connect again (AWS may take a minute to apply a change).",
        external_id.expose_secret()
    )
}

pub(super) fn problem(error: &AwsProblem) -> Problem {
    use StatusCode as S;
    match error {
        AwsProblem::Refused { field, reason } => Problem::new(
            S::BAD_REQUEST,
            "AWS_CREDENTIALS_REFUSED",
            "AWS refuses the credentials",
            format!("{field}: AWS refuses the credentials ({reason}). Check them, and that they belong to this region's partition."),
        )
        .field(field),
        AwsProblem::Unavailable(error) => Problem::new(
            S::BAD_GATEWAY,
            "AWS_UNAVAILABLE",
            "AWS cannot be asked",
            format!("AWS could not be asked about the credentials ({error}). Nothing was stored; try again."),
        )
        .retry_after(SOON),
        AwsProblem::Role(refusal) => role(refusal),
        AwsProblem::NotTrusted { external_id, controller, reason } => Problem::new(
            S::CONFLICT,
            "AWS_ROLE_NOT_TRUSTING",
            "The role does not let Panda assume it",
            format!("roleArn: AWS does not let Panda assume the role with your external id ({reason}). {}", remedy(external_id, controller)),
        )
        .field("roleArn")
        .external_id(external_id),
        AwsProblem::Open { external_id, controller } => Problem::new(
            S::CONFLICT,
            "AWS_ROLE_WITHOUT_EXTERNAL_ID",
            "The role does not require your external id",
            format!(
                "roleArn: the role can be assumed without your external id or with another one, so that any user of this server could use it. {}",
                remedy(external_id, controller)
            ),
        )
        .field("roleArn")
        .external_id(external_id),
        AwsProblem::IdentityTaken(other) => Problem::new(
            S::CONFLICT,
            "CONNECTION_EXISTS",
            "Another connection has these credentials",
            format!(
                "The connection {other} is of the same account, region and identity. Renew that one, or remove it first \
                 (DELETE /api/v1/connections/{other})."
            ),
        ),
        AwsProblem::Outdated(id) => Problem::new(
            S::CONFLICT,
            "CONNECTION_OUTDATED",
            "The connection has to be renewed",
            format!(
                "The role of the connection {id} was connected with an external id that Panda did not derive, so that the role may be another tenant's. \
                 Renew it with PUT /api/v1/connect/aws/{id} and its roleArn (panda connect aws --renew {id} --role-arn ARN), then try again."
            ),
        ),
    }
}

fn role(refusal: &RoleRefusal) -> Problem {
    let refused = |code, why: String| {
        Problem::new(StatusCode::BAD_REQUEST, code, "Panda does not assume this role", format!("roleArn: {why}"))
            .field("roleArn")
    };
    match refusal {
        RoleRefusal::NotARole(rule) => refused("INVALID_FIELD", rule.clone()),
        RoleRefusal::OtherPartition { .. } => {
            refused("AWS_PARTITION_DIFFERS", format!("{refusal}. Connect access keys of that account instead."))
        }
        RoleRefusal::ControllerAccount { .. } => refused(
            "AWS_CONTROLLER_ROLE",
            format!("{refusal}. Connect a role of another account, or access keys; or ask the server's operator to name the role there."),
        ),
        RoleRefusal::ControllerUnknown(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "AWS_CONTROLLER_UNKNOWN",
            "The server's own AWS account is not known",
            format!(
                "Just now {refusal}. Nothing was stored; try again, and if it stays so, tell the server's operator that its AWS credentials do \
                 not work."
            ),
        )
        .retry_after(SOON),
    }
}
