//! Fetches over TLS and through a proxy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use panda::clients::git::{FetchRequest, Fetched, Git, GitError, GitErrorKind, GitLimits};
use panda::domain::source::Revision;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::git_machine::program;
use crate::support::git_server::{GitServer, TOKEN};

/// A name that does not resolve: only a proxy reaches it.
const NAME: &str = "git.company.invalid";

/// A TLS port for [`NAME`] and 127.0.0.1 in front of `server`, and the file with its certificate.
async fn tls(server: &GitServer, folder: &Path) -> (u16, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (host, listener) = (server.repository(""), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let (acceptor, to) = (acceptor.clone(), ("127.0.0.1", host.port().unwrap()));
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else { return };
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut connection, &mut server).await;
            });
        }
    });
    (port, file)
}

/// A proxy that forwards everything to `port`, and its number of requests.
async fn proxy(port: u16) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with(&format!("CONNECT {NAME}:443 ")), "{head}");
                counter.fetch_add(1, Ordering::Relaxed);
                connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = copy_bidirectional(&mut connection, &mut server).await;
            });
        }
    });
    (address, asked)
}

async fn fetch(url: &str, folder: &Path, machine: &str) -> Result<Fetched, GitError> {
    let (url, revision, token) = (url.parse::<Url>().unwrap(), Revision::Branch("main".to_owned()), TOKEN.into());
    let into = folder.join("workspaces/source");
    let _ = std::fs::remove_dir_all(&into);
    let git = Git::new(GitLimits::default()).with_program(Some(program(folder, machine)));
    let request = FetchRequest { url: &url, revision: &revision, token: Some(&token), into: &into };
    git.fetch(request, CancellationToken::new()).await
}

#[tokio::test]
async fn git_tls__trusts_only_configured_authority() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    server.commit("main", "a.txt", "a").await;
    let (port, ca) = tls(&server, folder.path()).await;
    let url = format!("https://127.0.0.1:{port}/private/shop.git");
    let trusting = format!("export SSL_CERT_FILE={}", ca.display());
    fetch(&url, folder.path(), &trusting).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("workspaces/source/a.txt")).unwrap(), "a");
    let error = fetch(&url, folder.path(), "").await.unwrap_err();
    assert_eq!(error.kind, GitErrorKind::Invalid, "waiting does not fix a certificate: {error}");
}

#[tokio::test]
async fn git_tls__proxy_used_unless_excepted() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    server.commit("main", "a.txt", "a").await;
    let (port, ca) = tls(&server, folder.path()).await;
    let (address, asked) = proxy(port).await;
    let url = format!("https://{NAME}/private/shop.git");
    for (count, variable) in (1..).zip(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) {
        let machine = format!("export SSL_CERT_FILE={} {variable}={address}", ca.display());
        fetch(&url, folder.path(), &machine).await.unwrap();
        // One connection carries all requests of a fetch unless the server closes it.
        assert!(asked.load(Ordering::Relaxed) >= count, "{variable}");
    }
    let before = asked.load(Ordering::Relaxed);
    for variable in ["NO_PROXY", "no_proxy"] {
        let machine =
            format!("export SSL_CERT_FILE={} HTTPS_PROXY={address} {variable}=.company.invalid", ca.display());
        let error = fetch(&url, folder.path(), &machine).await.unwrap_err();
        assert_eq!(error.kind, GitErrorKind::Unavailable, "{error}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), before);
}
