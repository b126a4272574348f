//! Fetches over TLS and through a proxy.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use panda::clients::git::{FetchRequest, Fetched, Git, GitError, GitErrorKind, GitLimits};
use panda::domain::source::Revision;
use panda_testing::proxy::tls::{connect_proxy, tls_port};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::git_machine::program;
use crate::support::authority::Authority;
use crate::support::git_server::{GitServer, TOKEN};

/// A name that does not resolve: only a proxy reaches it.
const NAME: &str = "git.company.invalid";

/// A TLS port for [`NAME`] and 127.0.0.1 in front of `server`, and the file with its certificate.
async fn tls(server: &GitServer, folder: &Path) -> (u16, PathBuf) {
    let authority = Authority::new();
    let file = folder.join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    (tls_port(&authority, &[NAME, "127.0.0.1"], server.repository("").port().unwrap()).await, file)
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
    let (address, asked) = connect_proxy(&format!("{NAME}:443"), port).await;
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
