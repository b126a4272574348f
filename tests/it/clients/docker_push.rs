//! Pushes to a real registry (Debian's `docker-registry`) that requires a password, as ECR does.

use panda::clients::registry::{LoginCheck, check_login};
use panda::clients::{
    ErrorKind,
    aws::RegistryLogin,
    docker::{Docker, PushError, PushLine, PushedImage},
};
use panda_dev_services::{Registry, RegistryOptions};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::docker::{build, context, engine, name};

/// A registry in a temporary folder whose notifications go nowhere.
async fn registry() -> (Registry, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let options = RegistryOptions { dir, notification_url: super::unreachable_address().await, engine: None };
    (Registry::start(options).await.unwrap(), folder)
}

fn login(registry: &Registry, password: &str) -> RegistryLogin {
    let endpoint = format!("http://{}", registry.host_port());
    RegistryLogin { username: registry.username().into(), password: SecretString::from(password), endpoint }
}

async fn push(docker: &Docker, uri: &str, login: &RegistryLogin) -> (Result<PushedImage, PushError>, Vec<PushLine>) {
    let (sender, mut receiver) = mpsc::channel(4);
    let collect = async {
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line);
        }
        lines
    };
    tokio::join!(docker.push(uri, "v1", login, sender), collect)
}

#[tokio::test]
async fn docker_push__digest_of_registry_and_idempotent() {
    let docker = engine();
    let (registry, _folder) = registry().await;
    let right = registry.password().expose_secret();
    let folder = context(&[("Dockerfile", "FROM busybox:1\nCOPY Dockerfile /\n")]);
    let tag = name();
    build(folder.path(), &tag, &[]).await.0.unwrap();
    let uri = format!("{}/acme-shop", registry.host_port());
    docker.tag(&tag, &format!("{uri}:v1")).await.unwrap();

    let (pushed, lines) = push(&docker, &uri, &login(&registry, right)).await;
    let pushed = pushed.unwrap();
    assert!(lines.iter().any(|line| line.status == "Pushed"), "{lines:?}");
    assert!(lines.len() < 20, "byte counts are left out: {lines:?}");
    let manifest = reqwest::Client::new()
        .head(format!("http://{uri}/manifests/v1").replace("/acme-shop", "/v2/acme-shop"))
        .basic_auth("AWS", Some(right))
        .header("accept", "application/vnd.docker.distribution.manifest.v2+json")
        .send()
        .await
        .unwrap();
    assert_eq!(manifest.headers()["docker-content-digest"].to_str().unwrap(), pushed.digest);
    let image = docker.find_image(&tag).await.unwrap().unwrap();
    assert_eq!(image.repo_digests, [format!("{uri}@{}", pushed.digest)]);

    let (again, lines) = push(&docker, &uri, &login(&registry, right)).await;
    assert_eq!(again.unwrap(), pushed);
    assert!(lines.iter().any(|line| line.status == "Layer already exists"), "{lines:?}");

    let PushError::Registry(error) = push(&docker, &uri, &login(&registry, "wr0ng")).await.0.unwrap_err() else {
        panic!("it is the registry that refuses")
    };
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("wr0ng"));

    docker.remove_image(&format!("{uri}:v1")).await.unwrap();
    docker.remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn docker_push__unreachable_registry_and_missing_image() {
    let docker = engine();
    let uri = format!("{}/acme-shop", super::unreachable_address().await.authority());
    let login = RegistryLogin { username: "AWS".into(), password: SecretString::from("x"), endpoint: String::new() };
    let error = push(&docker, &uri, &login).await.0.unwrap_err();
    assert!(matches!(&error, PushError::Engine(error) if error.kind == ErrorKind::NotFound), "{error:?}");
    docker.tag("busybox:1", &format!("{uri}:v1")).await.unwrap();
    let error = push(&docker, &uri, &login).await.0.unwrap_err();
    docker.remove_image(&format!("{uri}:v1")).await.unwrap();
    assert!(matches!(&error, PushError::Registry(error) if error.kind == ErrorKind::Unavailable), "{error:?}");
}

#[tokio::test]
async fn docker_push__login_accepted_or_refused() {
    let (registry, _folder) = registry().await;
    let right = login(&registry, registry.password().expose_secret());
    assert_eq!(check_login(&right).await, LoginCheck::Accepted);
    assert_eq!(check_login(&login(&registry, "wr0ng")).await, LoginCheck::Refused);
    let busy = axum::Router::new().fallback(async || axum::http::StatusCode::SERVICE_UNAVAILABLE);
    let busy = RegistryLogin { endpoint: super::serve(busy).await.to_string(), ..right.clone() };
    assert!(matches!(check_login(&busy).await, LoginCheck::Busy(_)));
    let away = RegistryLogin { endpoint: super::unreachable_address().await.to_string(), ..right.clone() };
    assert!(matches!(check_login(&away).await, LoginCheck::Unknown(_)));
    let plain = RegistryLogin { endpoint: "http://registry.example.com".into(), ..right };
    let LoginCheck::Unknown(why) = check_login(&plain).await else { panic!("a password is not sent without TLS") };
    assert!(!why.contains("wr0ng"));
}
