//! Connections: where the source is read and which AWS account is deployed to, with their secrets.

use secrecy::SecretString;

/// A source repository and the token that reads it.
#[derive(Clone, Debug)]
pub struct GithubConnection {
    /// `gh_…`
    pub id: String,
    /// Account or organisation.
    pub owner: String,
    /// Repository.
    pub repo: String,
    /// The branch that was checked when connecting.
    pub branch: String,
    /// Access token.
    pub token: SecretString,
}

/// A user's AWS account.
#[derive(Clone, Debug)]
pub struct AwsConnection {
    /// `aws_…`
    pub id: String,
    /// AWS region.
    pub region: String,
    /// Twelve digits, as STS answered.
    pub account_id: String,
    /// How to sign in.
    pub credentials: AwsCredentials,
}

/// How to sign in to an AWS account.
#[derive(Clone, Debug)]
pub enum AwsCredentials {
    /// Access keys.
    Keys(AwsKeys),
    /// A role, assumed with the controller's own credentials.
    Role {
        /// The role's ARN.
        role_arn: String,
        /// The external id that the role's trust policy asks for.
        external_id: Option<SecretString>,
    },
}

impl AwsCredentials {
    /// What of it is secret.
    pub fn secrets(&self) -> Vec<&SecretString> {
        match self {
            Self::Keys(keys) => std::iter::once(&keys.secret_access_key).chain(&keys.session_token).collect(),
            Self::Role { external_id, .. } => external_id.iter().collect(),
        }
    }
}

/// AWS access keys.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: SecretString,
    /// Session token of temporary keys.
    pub session_token: Option<SecretString>,
}
