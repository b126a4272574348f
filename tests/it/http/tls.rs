//! TLS with certificates made here, and clients that trust only their authority.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::{Answer, Api, ExternalServices, Fixture, Reader, unreachable_db};
use crate::support::authority::Authority;
use crate::support::db::TestDb;
use crate::support::{WAIT_LIMIT, wait_for};

/// The certificate and key files of a server, and their authority.
struct Certificates {
    authority: Authority,
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        Self { authority: Authority::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("tls.key")
    }

    fn flags(&self) -> [String; 2] {
        [format!("--tls-cert={}", self.cert().display()), format!("--tls-key={}", self.key().display())]
    }

    /// Writes a new certificate and returns its DER form, to recognise it.
    fn renew(&self) -> Vec<u8> {
        let (certificate, key) = self.authority.issue(&["localhost", "127.0.0.1"]);
        put(&self.cert(), &certificate);
        put(&self.key(), &key);
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap().to_vec()
    }

    /// A client without open connections.
    fn client(&self) -> Client {
        let authority = Certificate::from_pem(self.authority.pem.as_bytes()).unwrap();
        Client::builder().tls_certs_only([authority]).tls_info(true).build().unwrap()
    }

    async fn serve(&self, db: &panda::db::Db) -> Api {
        let flags = self.flags();
        Api::serve_with(db, &ExternalServices::default(), &[&flags[0], &flags[1]]).await
    }
}

/// Replaces the file atomically, as certificate managers do.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn get(client: &Client, api: &Api, path: &str) -> reqwest::Result<Response> {
    client.get(format!("https://{}{path}", api.address)).send().await
}

fn certificate(response: &Response) -> Vec<u8> {
    response.extensions().get::<reqwest::tls::TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn tls__api_and_streams_only_over_tls() {
    let certificates = Certificates::new();
    certificates.renew();
    let db = TestDb::new().await;
    let api = certificates.serve(&db.db).await;
    let client = certificates.client();
    let mut fixture = Fixture::begin(&db.db).await;
    let answer = get(&client, &api, &format!("/api/v1/deploy/{}/result", fixture.id())).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, reqwest::Version::HTTP_11));
    let url = format!("https://{}/api/v1/deploy/{}/events", api.address, fixture.id());
    let mut reader = Reader::open(client.get(url)).await;
    fixture.build_lines(1, 3).await;
    assert!(reader.take(3).await.last().unwrap().text().ends_with("line 3"));

    assert!(get(&Client::new(), &api, "/healthz").await.is_err(), "the certificate is not trusted");
    let mut plain = TcpStream::connect(api.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: panda\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(WAIT_LIMIT, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn tls__renewed_certificate_keeps_streams() {
    let certificates = Certificates::new();
    let first = certificates.renew();
    let db = TestDb::new().await;
    let api = certificates.serve(&db.db).await;
    let served = async || certificate(&get(&certificates.client(), &api, "/healthz").await.unwrap());
    assert_eq!(served().await, first);
    let mut fixture = Fixture::begin(&db.db).await;
    let client = certificates.client();
    let url = format!("https://{}/api/v1/deploy/{}/events", api.address, fixture.id());
    let mut reader = Reader::open(client.get(url)).await;
    fixture.build_lines(1, 1).await;
    reader.take(1).await;

    // An unusable certificate is ignored: half of a pair, and rubbish.
    let good = std::fs::read_to_string(certificates.cert()).unwrap();
    put(&certificates.cert(), "rubbish");
    hang_up();
    put(&certificates.cert(), &good);
    put(&certificates.key(), &rcgen::KeyPair::generate().unwrap().serialize_pem());
    hang_up();
    assert_eq!(served().await, first);

    let second = certificates.renew();
    let begun = Instant::now();
    hang_up();
    wait_for("the new certificate is served", async || served().await == second).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "immediately after SIGHUP: {:?}", begun.elapsed());
    let third = certificates.renew();
    wait_for("the next certificate is served", async || served().await == third).await;
    fixture.build_lines(2, 2).await;
    assert!(reader.take(1).await[0].text().ends_with("line 2"), "on the existing connection");
}

/// Sends SIGHUP to this process, which serves, to reload its certificate.
fn hang_up() {
    kill(Pid::this(), Signal::SIGHUP).unwrap();
}

#[tokio::test]
async fn tls__missing_handshake_disconnected() {
    let certificates = Certificates::new();
    certificates.renew();
    let mut api = certificates.serve(&unreachable_db()).await;
    let mut silent = TcpStream::connect(api.address).await.unwrap();
    let begun = Instant::now();
    assert_eq!(get(&certificates.client(), &api, "/healthz").await.unwrap().status(), 200, "others are served");
    let _ = timeout(WAIT_LIMIT, silent.read_to_end(&mut Vec::new())).await.expect("the server closes");
    assert!((9.0..15.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    let _another = TcpStream::connect(api.address).await.unwrap();
    assert_eq!(get(&certificates.client(), &api, "/healthz").await.unwrap().status(), 200);
    api.shutdown.cancel();
    timeout(Duration::from_secs(4), &mut api.serving).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn tls__unusable_certificate_named_at_start() {
    let (certificates, other) = (Certificates::new(), Certificates::new());
    let refused = || {
        let files = panda::config::TlsFiles { cert: certificates.cert(), key: certificates.key() };
        panda::http::Tls::load(files).unwrap_err().to_string()
    };
    assert!(refused().contains("tls.crt cannot be read"), "{}", refused());
    certificates.renew();
    other.renew();
    std::fs::copy(other.key(), certificates.key()).unwrap();
    assert!(refused().contains("tls.key cannot be used"), "of another certificate: {}", refused());
    put(&certificates.key(), &std::fs::read_to_string(other.cert()).unwrap());
    assert!(refused().contains("tls.key holds no private key"), "{}", refused());
    put(&certificates.cert(), "");
    assert!(refused().contains("tls.crt holds no certificate"), "{}", refused());
}

#[tokio::test]
async fn tls__stalled_reader_disconnected() {
    let certificates = Certificates::new();
    certificates.renew();
    let db = TestDb::new().await;
    let [cert, key] = certificates.flags();
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[&cert, &key, "--reader-stall-ms=1000"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    for from in (1..6_000).step_by(500) {
        fixture.build_lines(from, from + 499).await;
    }
    let url = format!("https://{}/api/v1/deploy/{}/events", api.address, fixture.id());
    // Opened and never read.
    let unread = certificates.client().request(Method::GET, url).send().await.unwrap();
    wait_for("the stalled stream is disconnected", async || api.open_streams() == 0).await;
    drop(unread);
    assert_eq!(Answer::of(get(&certificates.client(), &api, "/healthz").await.unwrap()).await.status, 200);
}
