//! An engine behind TLS that asks who comes: the real one, with a door of TLS before its socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use panda::clients::ErrorKind;
use panda::clients::docker::Docker;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::docker::{build_on, context, name};

/// Who says who is who.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Panda's tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, in PEM.
    fn make(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A folder as `DOCKER_CERT_PATH` has it, for a client that trusts `trusted`.
    pub(crate) fn folder(&self, trusted: &Self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = self.make(&["panda"]);
        for (file, text) in [("ca.pem", &trusted.pem), ("cert.pem", &certificate), ("key.pem", &key)] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        folder
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the engine that the tests have.
async fn engine() -> io::Result<Box<dyn Stream>> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    match host.split_once("://").unwrap() {
        ("unix", path) => Ok(Box::new(UnixStream::connect(path).await?)),
        (_, address) => Ok(Box::new(TcpStream::connect(address).await?)),
    }
}

/// A server's side of TLS that asks for a certificate of `authority`.
pub(crate) fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = authority.make(&["localhost", "127.0.0.1"]);
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

/// A door of TLS before the engine, for whom `authority` knows; its address, until the test ends.
pub(crate) async fn door(authority: &Authority) -> String {
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
async fn an_image_is_built_by_an_engine_behind_tls() {
    let authority = Authority::new();
    let certs = authority.folder(&authority);
    let docker = connect(&door(&authority).await, certs.path());
    docker.ping().await.unwrap();
    let (folder, tag) = (context(&[("Dockerfile", "FROM busybox:1\nRUN echo over-tls\n")]), name());
    let (built, lines) = build_on(&docker, folder.path(), &tag).await;
    built.unwrap();
    assert!(lines.iter().any(|line| line.contains("over-tls")), "{lines:?}");
    assert!(docker.find_image(&tag).await.unwrap().is_some());
    docker.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn an_engine_or_a_client_that_the_other_does_not_know_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let host = door(&ours).await;
    let refused = async |docker: Docker| docker.ping().await.unwrap_err().kind;
    assert_eq!(refused(connect(&host, ours.folder(&theirs).path())).await, ErrorKind::Unavailable, "another engine");
    assert_eq!(refused(connect(&host, theirs.folder(&ours).path())).await, ErrorKind::Unavailable, "another client");
    assert_eq!(refused(Docker::connect(Some(&host)).unwrap()).await, ErrorKind::Unavailable, "in the clear");
    connect(&host, ours.folder(&ours).path()).ping().await.unwrap();
}

#[test]
fn what_cannot_be_tls_is_refused_at_once() {
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
