//! What `panda demo` and `panda up` do with the parts once they run: connect the example's repository and the sandbox's account.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rand::RngExt as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::api::Api;
use super::error::CliError;
use super::example;
use super::secret;
use super::stack::Addresses;

/// The secret in `path`, or a new one that is kept there for its owner alone: what an earlier run stored stays readable with it.
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

/// A token with which the API of `panda up` and `panda demo` is used, 256 bits.
pub fn random_api_token() -> SecretString {
    SecretString::from(rand::rng().sample_iter(Alphanumeric).take(43).map(char::from).collect::<String>())
}

/// A token as GitHub's look, for the sandbox's GitHub alone.
pub fn random_token() -> SecretString {
    let random: String = rand::rng().sample_iter(Alphanumeric).take(36).map(char::from).collect();
    SecretString::from(format!("ghp_{random}"))
}

/// A new database has its schema made while the server answers already; this is far longer than that takes.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Waits until the server can work.
pub async fn until_ready(api: &Api) -> Result<(), CliError> {
    let ready = async {
        while !api.is_ready().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(READY_LIMIT, ready).await;
    waited.map_err(|_| CliError::Demo(format!("Panda was not ready within {} s", READY_LIMIT.as_secs())))
}

/// Connects both through the API, as a user would; the connections' ids.
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
    let github = id(api, &api.connect("github", &github).await?, "githubConnectionId")?;
    let aws = id(api, &api.connect("aws", &aws).await?, "awsConnectionId")?;
    Ok((github, aws))
}

fn id(api: &Api, data: &Value, member: &str) -> Result<String, CliError> {
    let id = data.get(member).and_then(Value::as_str).map(ToOwned::to_owned);
    id.ok_or_else(|| api.protocol(&format!("it gave no {member}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_for_the_next_start_and_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("github-token");
        let first = kept_secret(&path, random_token).unwrap();
        assert_eq!(kept_secret(&path, random_token).unwrap().expose_secret(), first.expose_secret());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}
