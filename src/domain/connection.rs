//! Connections to a source repository and to an AWS account, with their secrets.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

/// Connection to a source repository, with the token that reads it.
#[derive(Clone, Debug)]
pub struct GithubConnection {
    /// Id of the connection, `gh_…`.
    pub id: String,
    /// GitHub account or organisation.
    pub owner: String,
    /// Name of the repository.
    pub repo: String,
    /// Branch whose existence was checked when connecting.
    pub branch: String,
    /// GitHub token that may read the repository.
    pub token: SecretString,
    /// Secrets that builds may read, by name.
    pub build_secrets: BTreeMap<String, SecretString>,
}

impl GithubConnection {
    /// Returns true if both connections have the same token.
    pub fn signs_in_as(&self, other: &Self) -> bool {
        self.token.expose_secret() == other.token.expose_secret()
    }

    /// Returns all secrets of the connection, including single lines of a multi-line secret, because builds print line by line.
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

/// Shortest line of a multi-line secret that is masked on its own, in bytes. A shorter one would match unrelated words.
const SHORTEST_LINE: usize = 12;

/// Connection to a user's AWS account.
#[derive(Clone, Debug)]
pub struct AwsConnection {
    /// Id of the connection, `aws_…`.
    pub id: String,
    /// AWS region of the target.
    pub region: String,
    /// AWS account as reported by STS, twelve digits.
    pub account_id: String,
    /// Credentials for the account.
    pub credentials: AwsCredentials,
    /// ARN of the role, in the account, that EventBridge assumes for the target of the account's rules; the server's setting when absent.
    pub rule_target_role_arn: Option<String>,
}

impl AwsConnection {
    /// Returns true if both connections act with the same credentials and the same role of rules.
    pub fn acts_as(&self, other: &Self) -> bool {
        self.credentials.signs_in_as(&other.credentials) && self.rule_target_role_arn == other.rule_target_role_arn
    }
}

/// Requested change of a connection's role for the target of its account's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TargetRoleRequest {
    /// The role stays as it is.
    #[default]
    Keep,
    /// The server's setting applies.
    Remove,
    /// The role with this ARN.
    Set(String),
}

/// Credentials for an AWS account.
#[derive(Clone, Debug)]
pub enum AwsCredentials {
    /// Access keys of a user or a session.
    Keys(AwsKeys),
    /// A role, assumed with the controller's own credentials.
    Role {
        /// `arn:PARTITION:iam::ACCOUNT:role/PATH`, in the account that receives deployments.
        role_arn: String,
        /// External id that the role's trust policy requires.
        external_id: SecretString,
    },
}

impl AwsCredentials {
    /// Returns true if both credentials are the same.
    pub fn signs_in_as(&self, other: &Self) -> bool {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        match (self, other) {
            (Self::Keys(a), Self::Keys(b)) => {
                a.access_key_id == b.access_key_id
                    && a.secret_access_key.expose_secret() == b.secret_access_key.expose_secret()
                    && text(&a.session_token) == text(&b.session_token)
            }
            (Self::Role { role_arn: a, external_id: x }, Self::Role { role_arn: b, external_id: y }) => {
                a == b && x.expose_secret() == y.expose_secret()
            }
            _ => false,
        }
    }

    /// Returns the secret parts of the credentials.
    pub fn secrets(&self) -> Vec<&SecretString> {
        match self {
            Self::Keys(keys) => std::iter::once(&keys.secret_access_key).chain(&keys.session_token).collect(),
            Self::Role { external_id, .. } => vec![external_id],
        }
    }
}

/// Access keys of an AWS user or session.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// Access key id, which is not secret.
    pub access_key_id: String,
    /// Secret access key that signs requests.
    pub secret_access_key: SecretString,
    /// Session token of temporary keys.
    pub session_token: Option<SecretString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_a_multi_line_build_secret_line_by_line() {
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
