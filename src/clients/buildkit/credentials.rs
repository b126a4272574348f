//! Logins of registries, for base images, caches and pushes. The daemon uses them; no build step sees them.

use std::collections::BTreeMap;

use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Response, Status};

/// A user name and a password for one registry.
#[derive(Clone, Debug)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: SecretString,
}

/// Logins by registry host (`host` or `host:port`, as in image references).
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Login>);

impl Credentials {
    /// Adds the login of a registry; a later one for the same host wins.
    pub fn insert(&mut self, host: &str, login: Login) {
        self.0.insert(host.to_owned(), login);
    }

    /// The login for `host`. BuildKit names Docker Hub by the host of its API.
    pub fn get(&self, host: &str) -> Option<&Login> {
        let hub = ["registry-1.docker.io", "index.docker.io", "docker.io"];
        self.0.get(host).or_else(|| hub.contains(&host).then(|| hub.iter().find_map(|name| self.0.get(*name)))?)
    }

    /// All hosts with their logins.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Login)> {
        self.0.iter().map(|(host, login)| (host.as_str(), login))
    }
}

#[tonic::async_trait]
impl Auth for Credentials {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        // Empty: anonymous.
        let login = self.get(&request.get_ref().host);
        Ok(Response::new(login.map_or_else(CredentialsResponse::default, |login| CredentialsResponse {
            username: login.username.clone(),
            secret: login.password.expose_secret().to_owned(),
        })))
    }

    // Without these three the daemon fetches tokens itself, with the credentials above.
    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("fetch_token"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("get_token_authority"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("verify_token_authority"))
    }
}
