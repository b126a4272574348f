//! Connections: where the source is read and which AWS account is deployed to, with their secrets.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

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
    /// Secrets that builds may read, by name.
    pub build_secrets: BTreeMap<String, SecretString>,
}

impl GithubConnection {
    /// Whether the token is the same.
    pub fn signs_in_as(&self, other: &Self) -> bool {
        self.token.expose_secret() == other.token.expose_secret()
    }

    /// What of it is secret. The lines of a secret with several are secrets too: builds print line by line.
    pub fn secrets(&self) -> Vec<SecretString> {
        let lines = |secret: &SecretString| -> Vec<SecretString> {
            let text = secret.expose_secret();
            let lines = text.lines().map(str::trim).filter(|line| *line != text && line.len() >= SHORTEST_LINE);
            lines.map(SecretString::from).collect()
        };
        let values = || self.build_secrets.values();
        std::iter::once(&self.token).chain(values()).cloned().chain(values().flat_map(lines)).collect()
    }
}

/// Shortest line of a secret that is masked alone: a shorter one would be found in words that have nothing to do with it.
const SHORTEST_LINE: usize = 12;

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
    /// Whether all that signs is the same.
    pub fn signs_in_as(&self, other: &Self) -> bool {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        match (self, other) {
            (Self::Keys(a), Self::Keys(b)) => {
                a.access_key_id == b.access_key_id
                    && a.secret_access_key.expose_secret() == b.secret_access_key.expose_secret()
                    && text(&a.session_token) == text(&b.session_token)
            }
            (Self::Role { role_arn: a, external_id: x }, Self::Role { role_arn: b, external_id: y }) => {
                a == b && text(x) == text(y)
            }
            _ => false,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_secret_of_several_lines_is_masked_line_by_line() {
        let key = "-----BEGIN KEY-----\r\nbG9uZyBiYXNlNjQ=\nx\n-----END KEY-----\n";
        let build_secrets = BTreeMap::from([("key".to_owned(), SecretString::from(key))]);
        let text = |text: &str| text.to_owned();
        let (id, owner, repo, branch) = (text("gh_1"), text("acme"), text("shop"), text("main"));
        let connection = GithubConnection { id, owner, repo, branch, token: "ghp_token".into(), build_secrets };
        let secrets: Vec<String> =
            connection.secrets().iter().map(|secret| secret.expose_secret().to_owned()).collect();
        assert_eq!(secrets, ["ghp_token", key, "-----BEGIN KEY-----", "bG9uZyBiYXNlNjQ=", "-----END KEY-----"]);
    }
}
