//! The fields that hold credentials, of requests that connect and renew: either keys or a role.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::domain::aws_role::{RoleArn, partition};
use crate::domain::connection::AwsKeys;
use crate::domain::validate;
use crate::http::error::ApiError;

/// Longest secret access key, in bytes; those of today have 40.
const MAX_SECRET_KEY: usize = 256;

/// Longest session token, in bytes. AWS states no limit; those of today have some hundreds.
const MAX_SESSION_TOKEN: usize = 8_192;

/// As the body has them.
pub(super) struct Fields {
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<SecretString>,
    pub(super) session_token: Option<SecretString>,
    pub(super) role_arn: Option<String>,
    pub(super) external_id: Option<Value>,
}

/// What they come to.
pub(super) enum Given {
    Keys(AwsKeys),
    /// A role's ARN, of the region's partition.
    Role(String),
}

impl Fields {
    /// Either keys or a role, each by its rule.
    pub(super) fn given(self, region: &str) -> Result<Given, ApiError> {
        // An id that callers choose would let them name another tenant's role with that tenant's id.
        if self.external_id.is_some() {
            return Err(ApiError::field(
                "externalId",
                "is not yours to choose: leave it out. Panda derives it, shows it in the answer and always sends it; let the role's trust policy require that one",
            ));
        }
        let Some(role_arn) = self.role_arn else { return self.keys() };
        let of_keys = [
            ("accessKeyId", self.access_key_id.is_some()),
            ("secretAccessKey", self.secret_access_key.is_some()),
            ("sessionToken", self.session_token.is_some()),
        ];
        if let Some((field, _)) = of_keys.into_iter().find(|(_, given)| *given) {
            return Err(ApiError::field(field, "must not be given beside roleArn: give either keys or a role"));
        }
        let theirs = RoleArn::parse(&role_arn).map_err(|rule| ApiError::field("roleArn", rule))?.partition;
        let regions = partition(region);
        if theirs != regions {
            let rule = format!("is of the partition {theirs}, and the region {region} of {regions}");
            return Err(ApiError::field("roleArn", rule));
        }
        Ok(Given::Role(role_arn))
    }

    fn keys(self) -> Result<Given, ApiError> {
        let missing = |field| ApiError::field(field, "is missing; give accessKeyId and secretAccessKey, or roleArn");
        let access_key_id = self.access_key_id.ok_or_else(|| missing("accessKeyId"))?;
        let secret_access_key = self.secret_access_key.ok_or_else(|| missing("secretAccessKey"))?;
        validate::access_key_id(&access_key_id).map_err(|rule| ApiError::field("accessKeyId", rule))?;
        check_secret("secretAccessKey", Some(&secret_access_key), MAX_SECRET_KEY)?;
        check_secret("sessionToken", self.session_token.as_ref(), MAX_SESSION_TOKEN)?;
        Ok(Given::Keys(AwsKeys { access_key_id, secret_access_key, session_token: self.session_token }))
    }
}

fn check_secret(field: &str, secret: Option<&SecretString>, max: usize) -> Result<(), ApiError> {
    let Some(secret) = secret else { return Ok(()) };
    validate::secret(secret.expose_secret(), max).map_err(|rule| ApiError::field(field, rule))
}
