//! Where the services of a dev stack are reached.

use std::path::PathBuf;

use panda_sandbox::SandboxCredentials;
use secrecy::SecretString;
use url::Url;

/// Addresses and credentials of the running services.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// URL of Panda's API.
    pub panda: Url,
    /// Endpoint of all AWS services in the sandbox.
    pub aws: Url,
    /// AWS region of the sandbox.
    pub region: String,
    /// Keys of the target account.
    pub user: SandboxCredentials,
    /// Path of the example's repository, for pushing new versions.
    pub repository: PathBuf,
    /// URL of Panda's database, without the password.
    pub database: String,
    /// File with the database's password.
    pub password_file: PathBuf,
    /// API token with the role admin.
    pub api_token: SecretString,
    /// File with the API token.
    pub token_file: PathBuf,
    /// Address of the Docker engine, as in `DOCKER_HOST`.
    pub docker: String,
}
