//! Connects to a BuildKit daemon: through a Docker engine's `/grpc`, over a unix socket, or over TCP with mutual TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Channel, Endpoint};

use crate::clients::builder_address::BuilderAddress;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::text::chain;

const CALL: &str = "buildkit connect";

/// Time limit for a daemon to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A daemon that does not answer a ping within this time is considered dead: otherwise a build would wait on a lost connection until its own time
/// limit.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Kind of daemon at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// A Docker engine: BuildKit is reached by upgrading `POST /grpc`.
    Engine,
    /// A `buildkitd` that listens itself.
    BuildKit,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens a gRPC channel to the daemon at `address`.
pub async fn connect(daemon: Daemon, address: &BuilderAddress) -> Result<Channel, ClientError> {
    let unavailable = |error: &dyn std::error::Error| ClientError::new(ErrorKind::Unavailable, CALL, chain(error));
    let slow = || ClientError::new(ErrorKind::Unavailable, CALL, "the builder did not answer in time");
    let dialled = async {
        let stream = dial(daemon, address).await?;
        match daemon {
            Daemon::BuildKit => Ok(stream),
            Daemon::Engine => upgrade(stream).await,
        }
    };
    let stream = timeout(CONNECT_TIMEOUT, dialled).await.map_err(|_| slow())??;
    // The channel uses exactly one connection: if it breaks, the build must fail, and is then repeated as a whole.
    let once = Arc::new(parking_lot::Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let stream = once.lock().take();
        async move {
            let gone =
                || std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "the builder closed the connection");
            stream.map(TokioIo::new).ok_or_else(gone)
        }
    });
    Endpoint::from_static("http://buildkit")
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|error| unavailable(&error))
}

async fn dial(daemon: Daemon, address: &BuilderAddress) -> Result<Box<dyn Stream>, ClientError> {
    let host = &address.host;
    let failed = |error: std::io::Error| ClientError::new(ErrorKind::Unavailable, CALL, format!("{host}: {error}"));
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?));
    }
    let Some(authority) = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) else {
        let message = format!("{host:?} is not a unix:// or tcp:// address");
        return Err(ClientError::new(ErrorKind::Invalid, CALL, message));
    };
    let authority = authority.trim_end_matches('/');
    let stream = TcpStream::connect(authority).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(certs) = &address.certs else { return Ok(Box::new(stream)) };
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name).trim_matches(['[', ']']);
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| ClientError::new(ErrorKind::Invalid, CALL, format!("{host}: {error}")))?;
    let stream = TlsConnector::from(tls(daemon, certs).await?).connect(name, stream).await.map_err(failed)?;
    Ok(Box::new(stream))
}

/// Loads mutual TLS from the three files that Docker's own tools use.
async fn tls(daemon: Daemon, folder: &Path) -> Result<Arc<ClientConfig>, ClientError> {
    let folder = folder.to_owned();
    let made =
        tokio::task::spawn_blocking(move || -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(folder.join("ca.pem"))? {
                roots.add(certificate?)?;
            }
            let chain = CertificateDer::pem_file_iter(folder.join("cert.pem"))?.collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
            let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)?;
            config.alpn_protocols = match daemon {
                Daemon::BuildKit => vec![b"h2".to_vec()],
                // The connection starts as HTTP/1.1 and is then upgraded.
                Daemon::Engine => Vec::new(),
            };
            Ok(config)
        });
    let invalid =
        |error: &dyn std::fmt::Display| ClientError::new(ErrorKind::Invalid, CALL, format!("TLS files: {error}"));
    made.await.map_err(|error| invalid(&error))?.map(Arc::new).map_err(|error| invalid(&error))
}

/// Upgrades a connection to a Docker engine to a connection to its BuildKit.
async fn upgrade(stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, ClientError> {
    let failed = |error: &dyn std::error::Error| ClientError::new(ErrorKind::Unavailable, CALL, chain(error));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    tokio::spawn(async move {
        // Ends with the upgrade; its error is reported by the request.
        let _ = connection.with_upgrades().await;
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/grpc")
        .header(HOST, "docker")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "h2c")
        .body(String::new())
        .map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let kind = match response.status() {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            status => ErrorKind::of_status(status.as_u16()),
        };
        let message = format!("the engine offers no BuildKit: POST /grpc answered {}", response.status());
        return Err(ClientError::new(kind, CALL, message));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| failed(&error))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}
