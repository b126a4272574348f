//! A remote BuildKit builds and pushes without a Docker engine on Panda's side.
//!
//! The daemon is real: the BuildKit of a current engine with containerd's image store, whose gRPC is offered on a separate socket or port, as
//! `buildkitd` offers it.

use std::path::PathBuf;

use panda::clients::ErrorKind;
use panda::clients::build::{BuildError, BuildFault};
use panda::clients::builder::Builder;
use panda::clients::builder_address::BuilderAddress;
use panda::clients::docker::Docker;
use panda::clients::registry_credentials::Login;
use panda::domain::builder::BuilderChoice;
use panda::metrics::BuildMetrics;
use panda_dev_services::{Registry, RegistryOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::{TestEngine, Wanted, build};
use crate::clients::docker_tls::acceptor;
use crate::support::authority::Authority;

/// BuildKit behind a separate address, beside a registry that it may push to.
struct Remote {
    engine: TestEngine,
    registry: Registry,
    dir: TempDir,
}

impl Remote {
    async fn start() -> Option<Self> {
        let engine = TestEngine::current(json!({"features": {"containerd-snapshotter": true}})).await?;
        let dir = tempfile::tempdir().unwrap();
        // Push notifications go to an address without a listener.
        let notification_url = "http://127.0.0.1:9/".parse().unwrap();
        let options = RegistryOptions { dir: dir.path().join("registry"), notification_url, engine: None };
        Some(Self { engine, registry: Registry::start(options).await.unwrap(), dir })
    }

    fn socket(&self) -> PathBuf {
        self.engine.engine.host().strip_prefix("unix://").unwrap().into()
    }

    /// Offers BuildKit on a unix socket.
    fn on_a_socket(&self) -> BuilderAddress {
        let path = self.dir.path().join("buildkitd.sock");
        let (listener, socket) = (UnixListener::bind(&path).unwrap(), self.socket());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(bridge(client, socket.clone()));
            }
        });
        BuilderAddress { host: format!("unix://{}", path.display()), certs: None }
    }

    /// Offers BuildKit on a port, to clients with a certificate of `authority`.
    async fn behind_tls(&self, authority: &Authority) -> String {
        let (listener, socket) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), self.socket());
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let acceptor = acceptor(authority);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, socket) = (acceptor.clone(), socket.clone());
                tokio::spawn(async move {
                    if let Ok(client) = acceptor.accept(stream).await {
                        bridge(client, socket).await;
                    }
                });
            }
        });
        host
    }

    fn wanted<'a>(&self, owner: &'a str, files: &'a [(&'a str, &'a str)], tag: &str) -> Wanted<'a> {
        let mut wanted = Wanted::new(owner, files);
        wanted.image = format!("{}/{owner}-app:{tag}", self.registry.host_port());
        wanted.cache = Some(format!("{}/{owner}-app-cache:main", self.registry.host_port()));
        let login = Login { username: self.registry.username().to_owned(), password: self.registry.password().clone() };
        wanted.credentials.insert(&self.registry.host_port(), login);
        wanted
    }

    /// The registry's answer for a manifest.
    async fn manifest(&self, repository: &str, reference: &str) -> (Option<String>, Value) {
        use secrecy::ExposeSecret as _;
        let url = format!("http://{}/v2/{repository}/manifests/{reference}", self.registry.host_port());
        let request = reqwest::Client::new()
            .get(url)
            .basic_auth(self.registry.username(), Some(self.registry.password().expose_secret()))
            .header("accept", "application/vnd.oci.image.manifest.v1+json")
            .header("accept", "application/vnd.oci.image.index.v1+json");
        let answer = request.send().await.unwrap();
        let digest = answer.headers().get("docker-content-digest").map(|digest| digest.to_str().unwrap().to_owned());
        (digest, answer.json().await.unwrap())
    }
}

/// Connects a client to the engine's BuildKit.
async fn bridge(mut client: impl AsyncRead + AsyncWrite + Unpin, socket: PathBuf) {
    let mut engine = UnixStream::connect(socket).await.unwrap();
    let upgrade = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    engine.write_all(upgrade).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(engine.read_u8().await.unwrap());
    }
    // Either side may end first.
    let _ = copy_bidirectional(&mut client, &mut engine).await;
}

fn builder(address: BuilderAddress) -> Builder {
    // An address without an engine.
    let docker = Docker::connect(Some("unix:///nowhere/docker.sock")).unwrap();
    let builder = Builder::new("remote", docker, Some(address), BuilderChoice::Auto, BuildMetrics::default());
    builder.set_secret("one installation".into());
    builder
}

#[tokio::test]
async fn remote_build__pushed_with_digest_and_cache() {
    let Some(remote) = Remote::start().await else { return };
    let builder = builder(remote.on_a_socket());
    let files = [("Dockerfile", "FROM busybox:1\nRUN date +%N > /stamp\nCOPY x /x\n"), ("x", "1")];
    let built = build(&builder, remote.wanted("acme", &files, "v1")).await;
    let digest = built.result.as_ref().unwrap().clone().unwrap();
    let (pushed, manifest) = remote.manifest("acme-app", "v1").await;
    assert_eq!(pushed.as_deref(), Some(digest.as_str()), "{manifest}");
    assert!(
        manifest["layers"].is_array(),
        "an image, not an index: each further manifest would be a push event: {manifest}"
    );
    let (_, cache) = remote.manifest("acme-app-cache", "main").await;
    assert_eq!(cache["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0", "{cache}");
    let again = build(&builder, remote.wanted("acme", &files, "v2")).await;
    assert!(again.was_cached("RUN"), "{again:#?}");
    let other = build(&builder, remote.wanted("evil", &files, "v1")).await;
    assert!(other.result.is_ok() && !other.was_cached("RUN"), "{other:#?}");
}

#[tokio::test]
async fn remote_build__mutual_tls_refuses_unknown_client() {
    let Some(remote) = Remote::start().await else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    let host = remote.behind_tls(&authority).await;
    let certs = authority.folder(&authority);
    let known = builder(BuilderAddress { host: host.clone(), certs: Some(certs.path().to_owned()) });
    let files = [("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")];
    assert!(build(&known, remote.wanted("acme", &files, "v1")).await.result.unwrap().is_some());
    let unknown_to_it = stranger.folder(&authority);
    let unknown_to_us = authority.folder(&stranger);
    for certs in [unknown_to_it.path(), unknown_to_us.path()] {
        let refused =
            builder(BuilderAddress { host: host.clone(), certs: Some(certs.to_owned()) }).active().await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
    }
}

#[tokio::test]
async fn remote_build__refused_push_is_registry_error() {
    let Some(remote) = Remote::start().await else { return };
    let builder = builder(remote.on_a_socket());
    let files = [("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")];
    let mut wanted = remote.wanted("acme", &files, "v1");
    let login = Login { username: "AWS".to_owned(), password: "wrong".to_owned().into() };
    wanted.credentials.insert(&remote.registry.host_port(), login);
    wanted.cache = None;
    let built = build(&builder, wanted).await;
    assert!(matches!(built.result, Err(BuildError::Failed { fault: BuildFault::PushDenied, .. })), "{built:#?}");
    assert!(!format!("{built:?}").contains("wrong"));
}

#[tokio::test]
async fn remote_build__unreachable_daemon_has_no_fallback() {
    let address = BuilderAddress { host: "unix:///nowhere/buildkitd.sock".to_owned(), certs: None };
    let error = builder(address).active().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("/nowhere/buildkitd.sock"), "{error}");
}
