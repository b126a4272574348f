//! RDS: database passwords signed with the credentials of an IAM role. Nothing is sent: a token is a presigned URL valid for fifteen minutes.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use secrecy::SecretString;
use url::Url;

use crate::domain::database::{PasswordTokens, Token};

/// Maximum validity that RDS allows.
const TOKEN_VALIDITY: Duration = Duration::from_mins(15);

/// Generator of RDS authentication tokens.
pub struct RdsTokens {
    credentials: Option<SharedCredentialsProvider>,
    /// Region from the configuration.
    region: Option<String>,
    /// Fallback if neither the configuration nor the host name names a region.
    controller_region: Option<String>,
}

impl fmt::Debug for RdsTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdsTokens").field("region", &self.region).finish_non_exhaustive()
    }
}

impl RdsTokens {
    pub(super) fn new(config: &SdkConfig, region: Option<String>) -> Self {
        Self {
            credentials: config.credentials_provider(),
            region,
            controller_region: config.region().map(ToString::to_string),
        }
    }

    async fn create_token(&self, host: &str, port: u16, user: &str) -> Result<SecretString, String> {
        let region = self.region.as_deref().or_else(|| region_of(host)).or(self.controller_region.as_deref());
        let region = region.ok_or("its region is unknown: set --database-iam-region (PANDA_DATABASE_IAM_REGION)")?;
        let credentials = self.credentials.as_ref().ok_or("there are no AWS credentials")?;
        // The SDK's error text may contain parts of a profile file.
        let credentials = credentials.provide_credentials().await.map_err(|_| "there are no AWS credentials")?;
        sign_token(&credentials.into(), region, host, port, user, SystemTime::now())
    }
}

impl PasswordTokens for RdsTokens {
    fn token<'a>(&'a self, host: &'a str, port: u16, user: &'a str) -> Token<'a> {
        Box::pin(self.create_token(host, port, user))
    }
}

/// Extracts the region: `us-east-1` from `panda.cluster-abc.us-east-1.rds.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let (before, domain) = host.trim_end_matches('.').split_once(".rds.")?;
    domain.starts_with("amazonaws.com").then(|| before.rsplit('.').next())?
}

fn sign_token(
    identity: &Identity,
    region: &str,
    host: &str,
    port: u16,
    user: &str,
    time: SystemTime,
) -> Result<SecretString, String> {
    let failed = || "it could not be signed".to_owned();
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(TOKEN_VALIDITY);
    settings.signature_location = SignatureLocation::QueryParams;
    let mut url = Url::parse(&format!("https://{host}:{port}/")).map_err(|_| failed())?;
    url.query_pairs_mut().append_pair("Action", "connect").append_pair("DBUser", user);
    let params =
        SigningParams::builder().identity(identity).region(region).name("rds-db").time(time).settings(settings);
    let params = params.build().map_err(|_| failed())?.into();
    let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]));
    let (signature, _) = sign(request.map_err(|_| failed())?, &params).map_err(|_| failed())?.into_parts();
    for (name, value) in signature.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    // RDS expects a space as `%20`, not as `+`.
    Ok(SecretString::from(url.as_str().trim_start_matches("https://").replace('+', "%20")))
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn extracts_region_from_host_name() {
        assert_eq!(region_of("panda.abc.eu-west-1.rds.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of("panda.cluster-ro-abc.cn-north-1.rds.amazonaws.com.cn."), Some("cn-north-1"));
        assert_eq!(region_of("db.example.com"), None);
        assert_eq!(region_of("x.rds.example.com"), None);
    }

    /// The expected signature comes from botocore's `generate_db_auth_token`, with the parameters in another order.
    #[test]
    fn token_matches_botocore() {
        let identity = Credentials::new("AKIDEXAMPLE", "secret", Some("session".to_owned()), None, "test").into();
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(482_136);
        let token =
            sign_token(&identity, "us-east-1", "db.abc.us-east-1.rds.amazonaws.com", 5432, "panda user", at).unwrap();
        assert_eq!(
            token.expose_secret(),
            "db.abc.us-east-1.rds.amazonaws.com:5432/?Action=connect&DBUser=panda%20user&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20250101%2Fus-east-1%2Frds-db%2Faws4_request&X-Amz-Date=20250101T000000Z&X-Amz-Expires=900\
             &X-Amz-SignedHeaders=host&X-Amz-Signature=7bec1aac10230f62b8915d73ebf074a3d004a89836784c02af9c5858a7a3a4a5\
             &X-Amz-Security-Token=session"
        );
    }
}
