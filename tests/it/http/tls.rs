//! TLS: certificates made here, and clients that trust only who made them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Answer, Api, Outside, Reader, Story, absent_db};
use crate::support::db::TestDb;
use crate::support::{SOON, wait_for};

/// An authority, and the files of a server whose certificates it makes.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Panda's tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key), dir: tempfile::tempdir().unwrap() }
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

    /// A new certificate in the files; its DER, by which it is known again.
    fn renew(&self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        put(&self.cert(), &certificate.pem());
        put(&self.key(), &key.serialize_pem());
        certificate.der().to_vec()
    }

    /// A client that has met nobody yet.
    fn client(&self) -> Client {
        let authority = Certificate::from_pem(self.pem.as_bytes()).unwrap();
        Client::builder().tls_certs_only([authority]).tls_info(true).build().unwrap()
    }

    async fn serve(&self, db: &panda::db::Db) -> Api {
        let flags = self.flags();
        Api::serve_with(db, &Outside::default(), &[&flags[0], &flags[1]]).await
    }
}

/// Whole or not at all, as those who renew certificates do it.
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
async fn api_and_streams_are_served_over_tls_and_nothing_beside_it() {
    let authority = Authority::new();
    authority.renew();
    let db = TestDb::new().await;
    let api = authority.serve(&db.db).await;
    let client = authority.client();
    let mut story = Story::begin(&db.db).await;
    let answer = get(&client, &api, &format!("/api/v1/deploy/{}/result", story.id())).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, reqwest::Version::HTTP_11));
    let url = format!("https://{}/api/v1/deploy/{}/events", api.address, story.id());
    let mut reader = Reader::open(client.get(url)).await;
    story.build_lines(1, 3).await;
    assert!(reader.take(3).await.last().unwrap().text().ends_with("line 3"));

    assert!(get(&Client::new(), &api, "/healthz").await.is_err(), "nobody vouches for it");
    let mut plain = TcpStream::connect(api.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: panda\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(SOON, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_no_stream_is_cut() {
    let authority = Authority::new();
    let first = authority.renew();
    let db = TestDb::new().await;
    let api = authority.serve(&db.db).await;
    let served = async || certificate(&get(&authority.client(), &api, "/healthz").await.unwrap());
    assert_eq!(served().await, first);
    let mut story = Story::begin(&db.db).await;
    let client = authority.client();
    let url = format!("https://{}/api/v1/deploy/{}/events", api.address, story.id());
    let mut reader = Reader::open(client.get(url)).await;
    story.build_lines(1, 1).await;
    reader.take(1).await;

    // What cannot be used is not taken: half of a pair, and rubbish.
    let good = std::fs::read_to_string(authority.cert()).unwrap();
    put(&authority.cert(), "rubbish");
    hang_up();
    put(&authority.cert(), &good);
    put(&authority.key(), &KeyPair::generate().unwrap().serialize_pem());
    hang_up();
    assert_eq!(served().await, first);

    let second = authority.renew();
    let begun = Instant::now();
    hang_up();
    wait_for("the new one is served", async || served().await == second).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "at once, when told: {:?}", begun.elapsed());
    let third = authority.renew();
    wait_for("the next one is found", async || served().await == third).await;
    story.build_lines(2, 2).await;
    assert!(reader.take(1).await[0].text().ends_with("line 2"), "on the connection of before");
}

/// Tells this process, which serves, to look at its certificate.
fn hang_up() {
    kill(Pid::this(), Signal::SIGHUP).unwrap();
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_cut_and_holds_up_nobody() {
    let authority = Authority::new();
    authority.renew();
    let mut api = authority.serve(&absent_db()).await;
    let mut silent = TcpStream::connect(api.address).await.unwrap();
    let begun = Instant::now();
    assert_eq!(get(&authority.client(), &api, "/healthz").await.unwrap().status(), 200, "others are served");
    let _ = timeout(SOON, silent.read_to_end(&mut Vec::new())).await.expect("the server closes");
    assert!((9.0..15.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    let _another = TcpStream::connect(api.address).await.unwrap();
    assert_eq!(get(&authority.client(), &api, "/healthz").await.unwrap().status(), 200);
    api.shutdown.cancel();
    timeout(Duration::from_secs(4), &mut api.serving).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_at_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let refused = || {
        let files = panda::config::TlsFiles { cert: authority.cert(), key: authority.key() };
        panda::http::Tls::load(files).unwrap_err().to_string()
    };
    assert!(refused().contains("tls.crt cannot be read"), "{}", refused());
    authority.renew();
    other.renew();
    std::fs::copy(other.key(), authority.key()).unwrap();
    assert!(refused().contains("tls.key cannot be used"), "of another certificate: {}", refused());
    put(&authority.key(), &std::fs::read_to_string(other.cert()).unwrap());
    assert!(refused().contains("tls.key holds no private key"), "{}", refused());
    put(&authority.cert(), "");
    assert!(refused().contains("tls.crt holds no certificate"), "{}", refused());
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_over_tls_as_well() {
    let authority = Authority::new();
    authority.renew();
    let db = TestDb::new().await;
    let [cert, key] = authority.flags();
    let api = Api::serve_with(&db.db, &Outside::default(), &[&cert, &key, "--reader-stall-ms=1000"]).await;
    let mut story = Story::begin(&db.db).await;
    for from in (1..6_000).step_by(500) {
        story.build_lines(from, from + 499).await;
    }
    let url = format!("https://{}/api/v1/deploy/{}/events", api.address, story.id());
    // Opened, and never read.
    let unread = authority.client().request(Method::GET, url).send().await.unwrap();
    wait_for("it is cut", async || api.open_streams() == 0).await;
    drop(unread);
    assert_eq!(Answer::of(get(&authority.client(), &api, "/healthz").await.unwrap()).await.status, 200);
}
