//! Credentials for signing AWS calls: a user's keys, or an assumed role.

use std::fmt;

use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::roles::{RoleGuard, RoleRefusal};
use super::sts::SESSION_NAME;
use crate::domain::connection::{AwsCredentials, AwsKeys};

/// Identifies credentials without being secret itself. The key id is not enough: renewed keys may have the same id.
pub(super) fn fingerprint(credentials: &AwsCredentials) -> [u8; 32] {
    let (kind, public) = match credentials {
        AwsCredentials::Keys(keys) => ("keys", &keys.access_key_id),
        AwsCredentials::Role { role_arn, .. } => ("role", role_arn),
    };
    let secrets = credentials.secrets().into_iter().map(secrecy::ExposeSecret::expose_secret);
    let all = std::iter::once(public.as_str()).chain(secrets).fold(Sha256::new().chain_update(kind), |hash, part| {
        // The length prefix separates the parts: without it, different parts could have the same hash.
        hash.chain_update(part.len().to_be_bytes()).chain_update(part)
    });
    all.finalize().into()
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

/// Creates the provider for a user's credentials. A role is assumed on first use, with the credentials of `base` (the controller), if `guard` allows
/// it.
pub(super) fn provider(
    base: &SdkConfig,
    guard: &RoleGuard,
    region: &str,
    credentials: &AwsCredentials,
) -> SharedCredentialsProvider {
    match credentials {
        AwsCredentials::Keys(keys) => SharedCredentialsProvider::new(of_keys(keys)),
        AwsCredentials::Role { role_arn, external_id } => SharedCredentialsProvider::new(AssumedRole {
            base: base.clone(),
            guard: guard.clone(),
            region: Region::new(region.to_owned()),
            role_arn: role_arn.clone(),
            external_id: external_id.clone(),
            provider: OnceCell::new(),
        }),
    }
}

/// Creates the SDK's own provider when the first request is signed: creating it is async, but handing out clients is not.
struct AssumedRole {
    base: SdkConfig,
    guard: RoleGuard,
    region: Region,
    role_arn: String,
    external_id: SecretString,
    provider: OnceCell<AssumeRoleProvider>,
}

impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumedRole").field("role_arn", &self.role_arn).finish_non_exhaustive()
    }
}

impl AssumedRole {
    async fn assume(&self) -> provider::Result {
        self.guard.check(&self.role_arn).await.map_err(|refusal| match refusal {
            RoleRefusal::ControllerUnknown(_) => CredentialsError::provider_error(refusal),
            _ => CredentialsError::invalid_configuration(refusal),
        })?;
        let provider = self.provider.get_or_init(|| {
            AssumeRoleProvider::builder(&self.role_arn)
                .session_name(SESSION_NAME)
                .region(self.region.clone())
                .external_id(self.external_id.expose_secret())
                .configure(&self.base)
                .build()
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
    fn fingerprint_covers_all_parts() {
        let keys = |id: &str, secret: &str, session: Option<&str>| {
            let (access_key_id, secret_access_key) = (id.to_owned(), SecretString::from(secret));
            let session_token = session.map(SecretString::from);
            fingerprint(&AwsCredentials::Keys(AwsKeys { access_key_id, secret_access_key, session_token }))
        };
        let role = |arn: &str, id: &str| {
            fingerprint(&AwsCredentials::Role { role_arn: arn.into(), external_id: SecretString::from(id) })
        };
        let all = [
            keys("A", "s", None),
            keys("A", "t", None),
            keys("A", "s", Some("x")),
            keys("A", "s", Some("y")),
            keys("B", "s", None),
            keys("A", "sx", None),
            role("A", "s"),
            role("A", "t"),
            role("A", "s\0x"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(keys("A", "s", Some("x")), keys("A", "s", Some("x")));
    }

    #[test]
    fn debug_hides_secrets() {
        let keys = AwsKeys {
            access_key_id: "AKID".into(),
            secret_access_key: SecretString::from("hush"),
            session_token: Some(SecretString::from("hush")),
        };
        let role = AwsCredentials::Role { role_arn: "arn:x".into(), external_id: SecretString::from("hush") };
        let shown = format!("{:?} {role:?}", AwsCredentials::Keys(keys));
        assert!(!shown.contains("hush") && shown.contains("AKID") && shown.contains("arn:x"), "{shown}");
    }
}
