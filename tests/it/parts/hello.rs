use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{BuildImageOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::TryStreamExt as _;
use panda::sandbox::git::SourceFile;
use uuid::Uuid;

use super::{engine, forget_image};
use crate::support::wait_for;

fn context(version: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello");
    let mut archive = tar::Builder::new(Vec::new());
    for mut file in SourceFile::folder(&folder).unwrap() {
        if file.path == "VERSION" {
            file.contents = format!("{version}\n").into_bytes();
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_size(file.contents.len() as u64);
        archive.append_data(&mut header, &file.path, file.contents.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_example_builds_and_answers_its_version_on_the_port_that_it_is_told() {
    let (engine, _dir) = engine().await;
    let docker = engine.docker();
    let image = format!("panda-test-hello-{}:42", Uuid::new_v4());
    let options = BuildImageOptionsBuilder::default()
        .t(&image)
        .forcerm(true)
        .networkmode(engine.network_mode().unwrap_or("default"))
        .build();
    let body = bollard::body_full(context("42").into());
    docker.build_image(options, None, Some(body)).try_for_each(async |_| Ok(())).await.unwrap();

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
