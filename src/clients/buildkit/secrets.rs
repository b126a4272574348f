//! Build secrets, read by `RUN --mount=type=secret`. They are in no layer and no cache key.

use std::collections::BTreeMap;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Response, Status};

/// Secrets that one build may read, by name.
#[derive(Clone, Debug, Default)]
pub struct MountedSecrets(pub BTreeMap<String, SecretString>);

#[tonic::async_trait]
impl secrets_server::Secrets for MountedSecrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        match self.0.get(id) {
            Some(secret) => Ok(Response::new(GetSecretResponse { data: secret.expose_secret().as_bytes().to_vec() })),
            // The daemon reports this as "secret not found", or ignores it if the mount is not required.
            None => Err(Status::not_found(format!("secret {id:?} was not requested"))),
        }
    }
}
