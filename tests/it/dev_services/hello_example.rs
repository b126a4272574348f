use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use panda::clients::builder::Builder;
use panda::clients::docker::Docker;
use panda::domain::builder::BuilderChoice;
use panda::metrics::BuildMetrics;
use panda_sandbox::git::SourceFile;
use tempfile::TempDir;
use uuid::Uuid;

use super::{engine, forget_image};
use crate::builds::{Wanted, build_folder};
use crate::support::wait_for;

fn context(version: &str) -> TempDir {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello");
    let context = tempfile::tempdir().unwrap();
    for file in SourceFile::folder(&folder).unwrap() {
        std::fs::write(context.path().join(&file.path), file.contents).unwrap();
    }
    std::fs::write(context.path().join("VERSION"), format!("{version}\n")).unwrap();
    context
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn hello_example__builds_and_answers_version_on_port() {
    let (engine, _dir) = engine().await;
    let docker = engine.docker();
    let image = format!("panda-test-hello-{}:42", Uuid::new_v4());
    let client = Docker::connect(Some(engine.host())).unwrap();
    let builder = Builder::new("test", client, None, BuilderChoice::Auto, BuildMetrics::default());
    let wanted = Wanted { image: image.clone(), ..Wanted::new("demo", &[]) };
    build_folder(&builder, wanted, context("42").path()).await.output();

    let port = free_port();
    let config = ContainerCreateBody {
        image: Some(image.clone()),
        env: Some(vec![format!("PORT={port}")]),
        host_config: Some(HostConfig { network_mode: Some("host".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let container = docker.create_container(None, config).await.unwrap().id;
    docker.start_container(&container, None).await.unwrap();
    let address = format!("http://127.0.0.1:{port}");
    let answered = async |path: &str| reqwest::get(format!("{address}{path}")).await.ok()?.text().await.ok();
    wait_for("the service answers", async || answered("/health").await.as_deref() == Some("ok\n")).await;
    assert_eq!(answered("/").await.as_deref(), Some("hello from version 42\n"));

    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&container, Some(options)).await.unwrap();
    forget_image(&engine, &image).await;
    engine.stop_and_remove().await.unwrap();
}
