//! Set-up of `panda demo` and `panda up` once the services run: connects the example's repository and the sandbox's account.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::addresses::Addresses;
use super::example;
use crate::cli::api::Api;
use crate::cli::connect::member;
use crate::cli::error::CliError;
use crate::cli::secret;
use crate::domain::message::message;

/// Reads the secret in `path`, or creates one there that only its owner can read. Data stored by an earlier run stays readable with it.
pub fn kept_secret(path: &Path, make: impl FnOnce() -> SecretString) -> Result<SecretString, CliError> {
    if path.exists() {
        let option = path.file_name().unwrap_or_default().to_string_lossy();
        return secret::require(&option, Some(path), &[]);
    }
    let token = make();
    let failed = |source| CliError::File { path: path.to_path_buf(), source };
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(failed)?;
    writeln!(file, "{}", token.expose_secret()).map_err(failed)?;
    Ok(token)
}

/// A random token for the API of `panda up` and `panda demo`, 256 bits.
pub fn random_api_token() -> SecretString {
    SecretString::from(rand::rng().sample_iter(Alphanumeric).take(43).map(char::from).collect::<String>())
}

/// A random token in GitHub's format, for the sandbox's GitHub only.
pub fn random_token() -> SecretString {
    let random: String = rand::rng().sample_iter(Alphanumeric).take(36).map(char::from).collect();
    SecretString::from(format!("ghp_{random}"))
}

/// Time for a new database to get its schema while the server already answers; migrations take far less.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Waits until the server is ready.
pub async fn until_ready(api: &Api) -> Result<(), CliError> {
    let ready = async {
        while !api.is_ready().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(READY_LIMIT, ready).await;
    waited.map_err(|_| CliError::Demo(message!("dev.not_ready", seconds = READY_LIMIT.as_secs())))
}

/// Connects repository and account through the API, as a user would. Returns the ids of both connections.
pub async fn connect(api: &Api, at: &Addresses, token: &SecretString) -> Result<(String, String), CliError> {
    until_ready(api).await?;
    let github = json!({
        "owner": example::OWNER, "repo": example::REPO, "branch": example::BRANCH, "token": token.expose_secret(),
    });
    let aws = json!({
        "region": at.region,
        "accessKeyId": at.user.access_key_id,
        "secretAccessKey": at.user.secret_access_key.expose_secret(),
    });
    let github = member(api, &api.connect("github", &github).await?, "githubConnectionId")?;
    let aws = member(api, &api.connect("aws", &aws).await?, "awsConnectionId")?;
    Ok((github, aws))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_secret_for_the_next_start() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("github-token");
        let first = kept_secret(&path, random_token).unwrap();
        assert_eq!(kept_secret(&path, random_token).unwrap().expose_secret(), first.expose_secret());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}
