//! An engine behind TLS with client certificates: the real engine, with a TLS proxy before its socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use panda::clients::ErrorKind;
use panda::clients::docker::Docker;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::docker::{build_on, context, name};
use crate::support::authority::Authority;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the shared engine.
async fn engine() -> io::Result<Box<dyn Stream>> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    match host.split_once("://").unwrap() {
        ("unix", path) => Ok(Box::new(UnixStream::connect(path).await?)),
        (_, address) => Ok(Box::new(TcpStream::connect(address).await?)),
    }
}

/// Server side of TLS that requires a certificate of `authority`.
pub(crate) fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = authority.issue(&["localhost", "127.0.0.1"]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Starts a TLS proxy before the engine for clients of `authority`; returns its address. It runs until the test ends.
pub(crate) async fn tls_proxy(authority: &Authority) -> String {
    let acceptor = acceptor(authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await?;
                copy_bidirectional(&mut client, &mut engine().await?).await
            });
        }
    });
    host
}

fn connect(host: &str, folder: &Path) -> Docker {
    Docker::connect(Some(host)).unwrap().with_tls(Some(folder)).unwrap()
}

#[tokio::test]
async fn docker_tls__builds() {
    let authority = Authority::new();
    let certs = authority.folder(&authority);
    let docker = connect(&tls_proxy(&authority).await, certs.path());
    docker.ping().await.unwrap();
    let (folder, tag) = (context(&[("Dockerfile", "FROM busybox:1\nRUN echo over-tls\n")]), name());
    let (built, lines) = build_on(&docker, folder.path(), &tag).await;
    built.unwrap();
    assert!(lines.iter().any(|line| line.contains("over-tls")), "{lines:?}");
    assert!(docker.find_image(&tag).await.unwrap().is_some());
    docker.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn docker_tls__unknown_engine_or_client_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let host = tls_proxy(&ours).await;
    let refused = async |docker: Docker| docker.ping().await.unwrap_err().kind;
    assert_eq!(refused(connect(&host, ours.folder(&theirs).path())).await, ErrorKind::Unavailable, "another engine");
    assert_eq!(refused(connect(&host, theirs.folder(&ours).path())).await, ErrorKind::Unavailable, "another client");
    assert_eq!(refused(Docker::connect(Some(&host)).unwrap()).await, ErrorKind::Unavailable, "plaintext");
    connect(&host, ours.folder(&ours).path()).ping().await.unwrap();
}

#[test]
fn docker_tls__invalid_settings_refused() {
    let authority = Authority::new();
    let certs = authority.folder(&authority);
    let refused = |host: &str, folder: &Path| {
        let error = Docker::connect(Some(host)).unwrap().with_tls(Some(folder)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        error.to_string()
    };
    assert!(refused("unix:///run/docker.sock", certs.path()).contains("tcp://"));
    std::fs::remove_file(certs.path().join("key.pem")).unwrap();
    let missing: PathBuf = certs.path().join("key.pem");
    assert!(refused("tcp://127.0.0.1:2376", certs.path()).contains(&missing.display().to_string()));
}
