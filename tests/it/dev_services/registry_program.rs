use bollard::query_parameters::BuildImageOptionsBuilder;
use futures_util::TryStreamExt as _;
use panda_dev_services::{DevServicesError, Engine, registry_image};

use super::{engine, forget_image};

const PROGRAM: &[u8] = b"#!/bin/sh\necho a registry\n";

/// Builds an image with the layout of the official one.
async fn build(engine: &Engine, name: &str) {
    let mut archive = tar::Builder::new(Vec::new());
    let dockerfile = b"FROM scratch\nCOPY registry /bin/registry\n";
    for (path, contents) in [("Dockerfile", dockerfile.as_slice()), ("registry", PROGRAM)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(contents.len() as u64);
        archive.append_data(&mut header, path, contents).unwrap();
    }
    let options = BuildImageOptionsBuilder::default().t(name).nocache(true).build();
    let body = bollard::body_full(archive.into_inner().unwrap().into());
    engine.docker().build_image(options, None, Some(body)).try_for_each(async |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn registry_program__extracted_once_from_image() {
    let (engine, dir) = engine().await;
    let image = "panda-test-registry-program:1";
    build(&engine, image).await;
    let program = registry_image::program(Some(&engine), image, dir.path()).await.unwrap();
    assert_eq!(std::fs::read(&program).unwrap(), PROGRAM);
    let output = std::process::Command::new(&program).output().unwrap();
    assert_eq!(output.stdout, b"a registry\n");
    let options = bollard::query_parameters::ListContainersOptionsBuilder::default().all(true).build();
    let containers = engine.docker().list_containers(Some(options)).await.unwrap();
    assert!(containers.iter().all(|container| container.image.as_deref() != Some(image)));

    // The second time neither the image nor an engine is needed.
    forget_image(&engine, image).await;
    assert_eq!(registry_image::program(None, image, dir.path()).await.unwrap(), program);
    engine.stop_and_remove().await.unwrap();
}

#[tokio::test]
async fn registry_program__missing_engine_names_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let error = registry_image::program(None, "registry:2", dir.path()).await.unwrap_err();
    assert!(matches!(error, DevServicesError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("apt-get install docker-registry"), "{error}");
}
