//! An engine behind TLS with client certificates: the real engine, with a TLS proxy before its socket.

use std::path::{Path, PathBuf};

use panda::clients::ErrorKind;
use panda::clients::docker::Docker;
pub(crate) use panda_testing::proxy::tls::{acceptor, tls_proxy};

use super::docker::{build_on, context, name};
use crate::support::authority::Authority;

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
