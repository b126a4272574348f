//! Credential fields shared by connecting and renewing: either access keys or a role.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize as _, Deserializer};
use serde_json::Value;

use crate::commands::connect::aws::GivenCredentials;
use crate::domain::aws_role::{RoleArn, partition};
use crate::domain::connection::{AwsKeys, TargetRoleRequest};
use crate::domain::message::message;
use crate::domain::validate;
use crate::http::error::ApiError;

/// Longest secret access key, in bytes. Current keys have 40.
const MAX_SECRET_KEY: usize = 256;

/// Longest session token, in bytes. AWS documents no limit; current tokens have some hundred bytes.
const MAX_SESSION_TOKEN: usize = 8_192;

/// The raw fields of the body.
pub(super) struct CredentialFields {
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<SecretString>,
    pub(super) session_token: Option<SecretString>,
    pub(super) role_arn: Option<String>,
    pub(super) external_id: Option<Value>,
}

impl CredentialFields {
    /// Validates the fields.
    ///
    /// # Errors
    /// [`ApiError::Input`] for an invalid field, an external id, keys combined with a role, or a role of another partition.
    pub(super) fn validate(self, region: &str) -> Result<GivenCredentials, ApiError> {
        // With a chosen id, a caller could use another tenant's role by sending that tenant's id.
        if self.external_id.is_some() {
            return Err(ApiError::field("externalId", message!("rule.external_id")));
        }
        let Some(role_arn) = self.role_arn else { return self.keys() };
        let key_fields = [
            ("accessKeyId", self.access_key_id.is_some()),
            ("secretAccessKey", self.secret_access_key.is_some()),
            ("sessionToken", self.session_token.is_some()),
        ];
        if let Some((field, _)) = key_fields.into_iter().find(|(_, given)| *given) {
            return Err(ApiError::field(field, message!("rule.keys_or_role")));
        }
        let role_partition = RoleArn::parse(&role_arn).map_err(|rule| ApiError::field("roleArn", rule))?.partition;
        let region_partition = partition(region);
        if role_partition != region_partition {
            let rule = message!("rule.role_partition", role_partition, region, region_partition);
            return Err(ApiError::field("roleArn", rule));
        }
        Ok(GivenCredentials::Role(role_arn))
    }

    fn keys(self) -> Result<GivenCredentials, ApiError> {
        let missing = |field| ApiError::field(field, message!("rule.keys_missing"));
        let access_key_id = self.access_key_id.ok_or_else(|| missing("accessKeyId"))?;
        let secret_access_key = self.secret_access_key.ok_or_else(|| missing("secretAccessKey"))?;
        validate::access_key_id(&access_key_id).map_err(|rule| ApiError::field("accessKeyId", rule))?;
        check_secret("secretAccessKey", Some(&secret_access_key), MAX_SECRET_KEY)?;
        check_secret("sessionToken", self.session_token.as_ref(), MAX_SESSION_TOKEN)?;
        Ok(GivenCredentials::Keys(AwsKeys { access_key_id, secret_access_key, session_token: self.session_token }))
    }
}

/// Distinguishes an absent field, which keeps the role, from `null`, which removes it.
pub(super) type TargetRoleField = Option<Option<String>>;

/// Deserialises a present field, `null` included.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TargetRoleField, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Validates the form of a role for the target of an account's rules. The command checks that it belongs to the account.
///
/// # Errors
/// [`ApiError::Input`] for anything but the ARN of a role.
pub(super) fn target_role(field: TargetRoleField) -> Result<TargetRoleRequest, ApiError> {
    match field {
        None => Ok(TargetRoleRequest::Keep),
        Some(None) => Ok(TargetRoleRequest::Remove),
        Some(Some(role)) => {
            RoleArn::parse(&role).map_err(|rule| ApiError::field("ruleTargetRoleArn", rule))?;
            Ok(TargetRoleRequest::Set(role))
        }
    }
}

fn check_secret(field: &str, secret: Option<&SecretString>, max: usize) -> Result<(), ApiError> {
    let Some(secret) = secret else { return Ok(()) };
    validate::secret(secret.expose_secret(), max).map_err(|rule| ApiError::field(field, rule))
}
