//! Checks AWS credentials with STS before they are stored.

use secrecy::SecretString;

use super::GivenCredentials;
use super::error::AwsConnectError;
use crate::clients::aws::{Aws, RoleRefusal, Trust};
use crate::clients::{ClientError, ErrorKind};
use crate::commands::error::CommandError;
use crate::db::DbError;
use crate::domain::aws_role::identity;
use crate::domain::connection::{AwsCredentials, AwsKeys};
use crate::domain::mask::Mask;

/// Working credentials with their identity.
pub(super) struct Confirmed {
    pub(super) credentials: AwsCredentials,
    /// AWS account of the credentials, twelve digits.
    pub(super) account_id: String,
    /// User or role of the credentials.
    pub(super) identity: String,
}

/// Checks with STS that the keys work, or that the role trusts Panda and requires `external_id`. Computes `external_id` only for a role.
///
/// # Errors
/// [`CommandError::Aws`] when AWS rejects the credentials or is unavailable; [`CommandError::Role`] when the role does not qualify.
pub(super) async fn confirm(
    aws: &Aws,
    region: &str,
    given: GivenCredentials,
    external_id: impl AsyncFnOnce() -> Result<SecretString, DbError>,
) -> Result<Confirmed, CommandError> {
    match given {
        GivenCredentials::Keys(keys) => confirm_keys(aws, region, keys).await,
        GivenCredentials::Role(role_arn) => {
            aws.check_role(&role_arn).await?;
            confirm_role(aws, region, role_arn, external_id().await?).await
        }
    }
}

async fn confirm_keys(aws: &Aws, region: &str, keys: AwsKeys) -> Result<Confirmed, CommandError> {
    let credentials = AwsCredentials::Keys(keys);
    // `GetCallerIdentity` needs no permission, so a denial means invalid credentials.
    let found = aws.identity(region, &credentials).await;
    let found = found.map_err(|error| credentials_error("accessKeyId", &credentials, error))?;
    Ok(Confirmed { credentials, account_id: found.account_id, identity: identity(&found.arn).to_owned() })
}

async fn confirm_role(
    aws: &Aws,
    region: &str,
    role_arn: String,
    external_id: SecretString,
) -> Result<Confirmed, CommandError> {
    let trust = aws.role_trust(region, &role_arn, &external_id).await;
    let controller = || aws.controller_account().unwrap_or_default().to_owned();
    let refusal = match trust {
        Ok(Trust::Requires { account_id }) => {
            let credentials = AwsCredentials::Role { role_arn: role_arn.clone(), external_id };
            return Ok(Confirmed { credentials, account_id, identity: role_arn });
        }
        Ok(Trust::Refuses(reason)) => AwsConnectError::NotTrusted { external_id, controller: controller(), reason },
        Ok(Trust::IsOpen) => AwsConnectError::Open { external_id, controller: controller() },
        // AWS rejected the controller's own credentials, not the role.
        Err(error) if error.kind == ErrorKind::Denied => return Err(RoleRefusal::ControllerUnknown(error).into()),
        Err(error) => {
            let credentials = AwsCredentials::Role { role_arn, external_id };
            return Err(credentials_error("roleArn", &credentials, error));
        }
    };
    Err(refusal.into())
}

fn credentials_error(field: &'static str, credentials: &AwsCredentials, mut error: ClientError) -> CommandError {
    Mask::of(credentials.secrets()).string(&mut error.message);
    let problem = match error.kind {
        ErrorKind::Denied
        | ErrorKind::Credentials
        | ErrorKind::Invalid
        | ErrorKind::LimitExceeded
        | ErrorKind::NotFound => AwsConnectError::Refused { field, reason: error.message },
        ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Unavailable => AwsConnectError::Unavailable(error),
    };
    problem.into()
}
