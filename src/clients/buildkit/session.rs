//! The session: gRPC services that the daemon calls during a build, tunnelled through a call from the client.

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::DuplexStream;
use tokio_util::io::{ReaderStream, StreamReader};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::files::Files;
use super::secrets::MountedSecrets;
use crate::clients::registry_credentials::Credentials;

/// Buffer size between the tunnel and the gRPC server, in bytes.
const TUNNEL_BYTES: usize = 256 * 1024;

/// Methods that the daemon may call, as the session announces them.
const METHODS: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
];

/// Services that a session offers to the daemon.
pub struct SessionServices {
    /// Sends the context and the Dockerfile.
    pub files: Files,
    /// Registry logins of this build.
    pub credentials: Credentials,
    /// Build secrets of this build.
    pub secrets: MountedSecrets,
}

/// Serves `services` as session `id` until the daemon ends it or the future is dropped.
pub async fn serve(mut control: ControlClient<Channel>, id: &str, services: SessionServices) -> Result<(), Status> {
    let (ours, theirs) = tokio::io::duplex(TUNNEL_BYTES);
    let (from_services, mut to_services) = tokio::io::split(theirs);
    let outgoing = ReaderStream::with_capacity(from_services, 64 * 1024)
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .filter_map(|piece| std::future::ready(piece.ok()))
        .map(|piece| BytesMessage { data: piece.to_vec() });
    let mut request = Request::new(outgoing);
    announce(&mut request, id)?;
    let incoming = control.session(request).await?.into_inner();
    let pump = async move {
        let pieces = incoming.map_ok(|message| std::io::Cursor::new(message.data)).map_err(std::io::Error::other);
        let mut reader = StreamReader::new(pieces);
        tokio::io::copy(&mut reader, &mut to_services).await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok::<(), Status>(())
    };
    let server = Server::builder()
        .add_service(HealthServer::new(Healthy))
        .add_service(FileSyncServer::new(services.files))
        .add_service(AuthServer::new(services.credentials))
        .add_service(SecretsServer::new(services.secrets))
        .serve_with_incoming(stream::iter([Ok::<DuplexStream, std::io::Error>(ours)]));
    let serve = async { server.await.map_err(|error| Status::unavailable(error.to_string())) };
    tokio::try_join!(pump, serve).map(drop)
}

fn announce<T>(request: &mut Request<T>, id: &str) -> Result<(), Status> {
    let value = |text: &str| {
        MetadataValue::try_from(text).map_err(|_| Status::invalid_argument("the session id must be visible ASCII"))
    };
    let metadata = request.metadata_mut();
    metadata.insert("x-docker-expose-session-uuid", value(id)?);
    metadata.insert("x-docker-expose-session-name", value("panda")?);
    // The daemon keeps a received folder under this key, and trusts modification time and size when the folder is sent again: each build needs a
    // unique key.
    metadata.insert("x-docker-expose-session-sharedkey", value(id)?);
    for method in METHODS {
        metadata.append("x-docker-expose-session-grpc-method", value(method)?);
    }
    Ok(())
}

/// Answers the daemon's health check, sent every few seconds.
struct Healthy;

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}
