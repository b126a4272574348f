//! Whose credentials a call is signed with.

use std::fmt;

use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, future},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use crate::domain::connection::{AwsCredentials, AwsKeys};

/// What the role's session is called in the user's `CloudTrail`.
const SESSION_NAME: &str = "panda";

/// Who the credentials stand for: never a secret.
pub(super) fn principal(credentials: &AwsCredentials) -> &str {
    match credentials {
        AwsCredentials::Keys(keys) => &keys.access_key_id,
        AwsCredentials::Role { role_arn, .. } => role_arn,
    }
}

pub(super) fn of_keys(keys: &AwsKeys) -> Credentials {
    Credentials::new(
        keys.access_key_id.clone(),
        keys.secret_access_key.expose_secret(),
        keys.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "panda",
    )
}

/// The provider for a user's credentials; a role is assumed with `base`'s (the controller's) credentials, on first use.
pub(super) fn provider(base: &SdkConfig, region: &str, credentials: &AwsCredentials) -> SharedCredentialsProvider {
    match credentials {
        AwsCredentials::Keys(keys) => SharedCredentialsProvider::new(of_keys(keys)),
        AwsCredentials::Role { role_arn, external_id } => SharedCredentialsProvider::new(AssumedRole {
            base: base.clone(),
            region: Region::new(region.to_owned()),
            role_arn: role_arn.clone(),
            external_id: external_id.clone(),
            provider: OnceCell::new(),
        }),
    }
}

/// The SDK's own provider, made when the first request is signed: making it is async, handing out clients is not.
struct AssumedRole {
    base: SdkConfig,
    region: Region,
    role_arn: String,
    external_id: Option<SecretString>,
    provider: OnceCell<AssumeRoleProvider>,
}

impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumedRole").field("role_arn", &self.role_arn).finish_non_exhaustive()
    }
}

impl AssumedRole {
    async fn assume(&self) -> provider::Result {
        let provider = self.provider.get_or_init(|| {
            let mut builder = AssumeRoleProvider::builder(&self.role_arn)
                .session_name(SESSION_NAME)
                .region(self.region.clone())
                .configure(&self.base);
            if let Some(id) = &self.external_id {
                builder = builder.external_id(id.expose_secret());
            }
            builder.build()
        });
        provider.await.provide_credentials().await
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let keys = AwsKeys {
            access_key_id: "AKID".into(),
            secret_access_key: SecretString::from("hush"),
            session_token: Some(SecretString::from("hush")),
        };
        let role = AwsCredentials::Role { role_arn: "arn:x".into(), external_id: Some(SecretString::from("hush")) };
        let shown = format!("{:?} {role:?}", AwsCredentials::Keys(keys));
        assert!(!shown.contains("hush") && shown.contains("AKID") && shown.contains("arn:x"), "{shown}");
    }
}
