//! What STS says of credentials before they are stored.

use secrecy::SecretString;

use super::fields::Given;
use crate::clients::aws::{RoleRefusal, Trust};
use crate::clients::{ClientError, ErrorKind};
use crate::db::DbError;
use crate::domain::aws_role::identity;
use crate::domain::connection::{AwsCredentials, AwsKeys};
use crate::domain::mask::Mask;
use crate::http::ApiState;
use crate::http::error::{ApiError, AwsProblem};

/// Credentials that work, and whose they are.
pub(super) struct Confirmed {
    pub(super) credentials: AwsCredentials,
    /// Twelve digits.
    pub(super) account_id: String,
    /// The user or role that they stand for.
    pub(super) identity: String,
}

/// Asks STS whose the keys are, or whether the role requires `external_id`, which is read only for a role.
pub(super) async fn confirm(
    state: &ApiState,
    region: &str,
    given: Given,
    external_id: impl AsyncFnOnce() -> Result<SecretString, DbError>,
) -> Result<Confirmed, ApiError> {
    match given {
        Given::Keys(keys) => confirm_keys(state, region, keys).await,
        Given::Role(role_arn) => {
            state.aws.check_role(&role_arn).await.map_err(AwsProblem::Role)?;
            confirm_role(state, region, role_arn, external_id().await?).await
        }
    }
}

async fn confirm_keys(state: &ApiState, region: &str, keys: AwsKeys) -> Result<Confirmed, ApiError> {
    let credentials = AwsCredentials::Keys(keys);
    // `GetCallerIdentity` needs no right: only wrong credentials are denied.
    let found = state.aws.identity(region, &credentials).await;
    let found = found.map_err(|error| refused("accessKeyId", &credentials, error))?;
    Ok(Confirmed { credentials, account_id: found.account_id, identity: identity(&found.arn).to_owned() })
}

async fn confirm_role(
    state: &ApiState,
    region: &str,
    role_arn: String,
    external_id: SecretString,
) -> Result<Confirmed, ApiError> {
    let trust = state.aws.role_trust(region, &role_arn, &external_id).await;
    let controller = || state.aws.controller_account().unwrap_or_default().to_owned();
    let refusal = match trust {
        Ok(Trust::Requires { account_id }) => {
            let credentials = AwsCredentials::Role { role_arn: role_arn.clone(), external_id: Some(external_id) };
            return Ok(Confirmed { credentials, account_id, identity: role_arn });
        }
        Ok(Trust::Refuses(reason)) => AwsProblem::NotTrusted { external_id, controller: controller(), reason },
        Ok(Trust::IsOpen) => AwsProblem::Open { external_id, controller: controller() },
        // Not the role is refused but the credentials that ask for it, which are the controller's.
        Err(error) if error.kind == ErrorKind::Denied => AwsProblem::Role(RoleRefusal::ControllerUnknown(error)),
        Err(error) => {
            let credentials = AwsCredentials::Role { role_arn, external_id: Some(external_id) };
            return Err(refused("roleArn", &credentials, error));
        }
    };
    Err(refusal.into())
}

fn refused(field: &'static str, credentials: &AwsCredentials, mut error: ClientError) -> ApiError {
    Mask::of(credentials.secrets()).string(&mut error.message);
    let problem = match error.kind {
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::NotFound => {
            AwsProblem::Refused { field, reason: error.message }
        }
        ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Unavailable => AwsProblem::Unavailable(error),
    };
    problem.into()
}
