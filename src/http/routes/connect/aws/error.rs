//! Errors of connecting an AWS account, as clients see them.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::clients::aws::RoleRefusal;
use crate::commands::connect::aws::error::AwsConnectError;
use crate::domain::message::{Message, message};
use crate::http::error::problem::{Problem, RETRY_AFTER, problem_types};

problem_types! {
    AwsConnectError:
    Refused => BAD_REQUEST, "AWS_CREDENTIALS_REFUSED";
    Unavailable => BAD_GATEWAY, "AWS_UNAVAILABLE";
    NotTrusted => CONFLICT, "AWS_ROLE_NOT_TRUSTING";
    Open => CONFLICT, "AWS_ROLE_WITHOUT_EXTERNAL_ID";
    RuleRoleDiffers => CONFLICT, "AWS_RULE_ROLE_DIFFERS";
    RuleRoleRefused => CONFLICT, "AWS_RULE_ROLE_REFUSED";
    NoExecution => NOT_FOUND, "PIPELINE_EXECUTION_NOT_FOUND";
    ExecutionRefused => CONFLICT, "PIPELINE_EXECUTION_REFUSED";
    IdentityTaken => CONFLICT, "CONNECTION_EXISTS";
}

impl AwsConnectError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::Refused { field, .. } => problem.field(field),
            Self::Unavailable(_) => problem.retry_after(RETRY_AFTER),
            Self::NotTrusted { external_id, controller, .. } | Self::Open { external_id, controller } => {
                problem.field("roleArn").external_id(external_id).trust_policy(trust_policy(controller, external_id))
            }
            Self::NoExecution(_) | Self::ExecutionRefused(_) => problem.field("executionArn"),
            Self::RuleRoleDiffers(_) | Self::RuleRoleRefused(_) | Self::IdentityTaken(_) => problem,
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::Refused { field, reason } => message!("AWS_CREDENTIALS_REFUSED.detail", field = *field, reason),
            Self::Unavailable(error) => message!("AWS_UNAVAILABLE.detail", error = error.to_string()),
            Self::NotTrusted { external_id, controller, reason } => {
                let condition = condition(external_id);
                message!("AWS_ROLE_NOT_TRUSTING.detail", reason, controller, condition)
            }
            Self::Open { external_id, controller } => {
                message!("AWS_ROLE_WITHOUT_EXTERNAL_ID.detail", controller, condition = condition(external_id))
            }
            Self::RuleRoleDiffers(role) => message!("AWS_RULE_ROLE_DIFFERS.detail", role),
            Self::RuleRoleRefused(reason) => message!("AWS_RULE_ROLE_REFUSED.detail", reason),
            Self::NoExecution(arn) => message!("PIPELINE_EXECUTION_NOT_FOUND.detail", arn),
            Self::ExecutionRefused(reason) => message!("PIPELINE_EXECUTION_REFUSED.detail", reason),
            Self::IdentityTaken(other) => message!("CONNECTION_EXISTS.detail", other),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        use crate::clients::{ClientError, ErrorKind};
        let external_id = || SecretString::from("{externalId}");
        let (controller, reason) = ("{controller}".to_owned(), "{reason}".to_owned());
        vec![
            Self::Refused { field: "accessKeyId", reason: reason.clone() },
            Self::Unavailable(ClientError::new(ErrorKind::Unavailable, "{call}", "{reason}")),
            Self::NotTrusted { external_id: external_id(), controller: controller.clone(), reason },
            Self::Open { external_id: external_id(), controller },
            Self::RuleRoleDiffers("{role}".to_owned()),
            Self::RuleRoleRefused("{reason}".to_owned()),
            Self::NoExecution("{arn}".to_owned()),
            Self::ExecutionRefused("{reason}".to_owned()),
            Self::IdentityTaken("{connection}".to_owned()),
        ]
    }
}

/// The condition that the trust policy needs.
fn condition(external_id: &SecretString) -> String {
    format!(r#"{{"StringEquals": {{"sts:ExternalId": "{}"}}}}"#, external_id.expose_secret())
}

/// A trust policy with which only the controller's account may assume the role, and only with the external id.
fn trust_policy(controller: &str, external_id: &SecretString) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": controller},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": external_id.expose_secret()}},
        }],
    })
}

problem_types! {
    RoleRefusal:
    NotARole => BAD_REQUEST, "INVALID_FIELD", "role_title";
    OtherPartition => BAD_REQUEST, "AWS_PARTITION_DIFFERS";
    ControllerAccount => BAD_REQUEST, "AWS_CONTROLLER_ROLE";
    ControllerUnknown => SERVICE_UNAVAILABLE, "AWS_CONTROLLER_UNKNOWN";
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

    fn detail(&self) -> Message {
        match self {
            Self::NotARole(rule) => message!("INVALID_FIELD.detail", field = "roleArn", rule = rule.clone()),
            Self::OtherPartition { role, controller } => message!("AWS_PARTITION_DIFFERS.detail", role, controller),
            Self::ControllerAccount { role_arn, account } => message!("AWS_CONTROLLER_ROLE.detail", role_arn, account),
            Self::ControllerUnknown(error) => message!("AWS_CONTROLLER_UNKNOWN.detail", error = error.to_string()),
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        use crate::clients::{ClientError, ErrorKind};
        vec![
            Self::NotARole(Message::verbatim("{rule}")),
            Self::OtherPartition { role: "{partition}".to_owned(), controller: "{partition}".to_owned() },
            Self::ControllerAccount { role_arn: "{role}".to_owned(), account: "{account}".to_owned() },
            Self::ControllerUnknown(ClientError::new(ErrorKind::Denied, "{call}", "{reason}")),
        ]
    }
}
