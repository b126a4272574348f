use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::TryStreamExt as _;
use panda_dev_services::{DevServicesError, Engine, Registry, RegistryOptions};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{engine, forget_image};
use crate::support::WAIT_LIMIT;

/// An address that forwards each event that a registry reports.
async fn listener() -> (url::Url, mpsc::UnboundedReceiver<Value>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let take = async |State(sender): State<mpsc::UnboundedSender<Value>>, body: String| {
        let report: Value = serde_json::from_str(&body).unwrap();
        for event in report["events"].as_array().unwrap() {
            sender.send(event.clone()).unwrap();
        }
        Json(())
    };
    let app = Router::new().route("/pushed", post(take)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/pushed", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url.parse().unwrap(), receiver)
}

pub(crate) async fn push(engine: &Engine, name: &str, tag: &str, password: &str) -> Result<(), bollard::errors::Error> {
    let docker = engine.docker();
    let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
    docker.tag_image("busybox:1", Some(options)).await.unwrap();
    let credentials = DockerCredentials {
        username: Some("AWS".to_owned()),
        password: Some(password.to_owned()),
        ..Default::default()
    };
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let pushed = docker.push_image(name, Some(options), Some(credentials)).try_for_each(async |_| Ok(())).await;
    forget_image(engine, &format!("{name}:{tag}")).await;
    pushed
}

#[tokio::test]
async fn registry_service__push_needs_password_and_is_reported() {
    let (url, mut reports) = listener().await;
    let (engine, dir) = engine().await;
    let options = RegistryOptions { dir: dir.path().join("registry"), notification_url: url, engine: Some(&engine) };
    let registry = Registry::start(options).await.unwrap();
    let name = format!("{}/acme-hello", registry.host_port());
    assert_eq!(registry.username(), "AWS");
    assert!(!format!("{registry:?}").contains(registry.password().expose_secret()));

    let refused = push(&engine, &name, "one", "wrong").await.unwrap_err().to_string();
    assert!(refused.contains("unauthorized") || refused.contains("no basic auth"), "{refused}");

    push(&engine, &name, "one", registry.password().expose_secret()).await.unwrap();
    let manifest = loop {
        let event = timeout(WAIT_LIMIT, reports.recv()).await.expect("a report within the time").unwrap();
        let media_type = event["target"]["mediaType"].as_str().unwrap_or_default().to_owned();
        if event["action"] == "push" && media_type.contains("manifest") {
            break event;
        }
    };
    assert_eq!(manifest["target"]["repository"], "acme-hello");
    assert_eq!(manifest["target"]["tag"], "one");
    let digest = manifest["target"]["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:"), "{digest}");

    let manifest_url = format!("http://{}/v2/acme-hello/manifests/{digest}", registry.host_port());
    let client = reqwest::Client::new();
    let anonymous = client.get(&manifest_url).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    let accept = "application/vnd.docker.distribution.manifest.v2+json";
    let known = client.get(&manifest_url).header("accept", accept);
    let known = known.basic_auth("AWS", Some(registry.password().expose_secret())).send().await.unwrap();
    assert_eq!(known.status(), 200);
    let host_port = registry.host_port();
    registry.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(&host_port).await.is_err());
    engine.stop_and_remove().await.unwrap();
}

#[tokio::test]
async fn registry_service__restart_keeps_images_with_new_password() {
    let (url, _reports) = listener().await;
    let (engine, dir) = engine().await;
    let options =
        || RegistryOptions { dir: dir.path().join("registry"), notification_url: url.clone(), engine: Some(&engine) };
    let first = Registry::start(options()).await.unwrap();
    let name = format!("{}/acme-kept", first.host_port());
    push(&engine, &name, "one", first.password().expose_secret()).await.unwrap();
    let old = first.password().clone();
    first.stop().await.unwrap();

    let second = Registry::start(options()).await.unwrap();
    let tags = format!("http://{}/v2/acme-kept/tags/list", second.host_port());
    let client = reqwest::Client::new();
    let ask = async |password: &str| client.get(&tags).basic_auth("AWS", Some(password)).send().await.unwrap();
    assert_eq!(ask(old.expose_secret()).await.status(), 401);
    let kept: Value = ask(second.password().expose_secret()).await.json().await.unwrap();
    assert_eq!(kept["tags"][0], "one");
    second.stop().await.unwrap();
    engine.stop_and_remove().await.unwrap();
}

#[tokio::test]
async fn registry_service__invalid_notification_address_refused() {
    let dir = tempfile::tempdir().unwrap();
    let notification_url = "file:///etc/passwd".parse().unwrap();
    let options = RegistryOptions { dir: dir.path().to_path_buf(), notification_url, engine: None };
    let error = Registry::start(options).await.unwrap_err();
    assert!(matches!(error, DevServicesError::Input { field: "notification_url", .. }), "{error}");
}
