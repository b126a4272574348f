//! Removes containers and images that a dev stack left in a Docker engine.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};

use panda_sandbox::CONTAINER_LABEL;

/// Removes the containers of a sandbox that was killed. Only for a private engine: on a shared one they may belong to another sandbox.
pub async fn remove_containers(docker: &Docker) {
    let labelled = HashMap::from([("label", vec![CONTAINER_LABEL])]);
    let all = ListContainersOptionsBuilder::default().all(true).filters(&labelled).build();
    let found = docker.list_containers(Some(all)).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "containers of an earlier run not listed");
        Vec::new()
    });
    for id in found.into_iter().filter_map(|container| container.id) {
        let force = RemoveContainerOptionsBuilder::default().force(true).build();
        if let Err(error) = docker.remove_container(&id, Some(force)).await {
            tracing::warn!(%error, container = id, "container of an earlier run not removed from the Docker engine");
        }
    }
}

/// Removes the images tagged for the registry at `host_port`, which is being stopped: they could not be pulled or pushed again.
///
/// Only logs failures: the disk space is not worth a failed command.
pub async fn remove_of_registry(docker: &Docker, host_port: &str) {
    let prefix = format!("{host_port}/");
    let images = match docker.list_images(Some(ListImagesOptionsBuilder::default().build())).await {
        Ok(images) => images,
        Err(error) => {
            tracing::warn!(%error, "built images not listed, leaving them in the Docker engine");
            return;
        }
    };
    for image in images.into_iter().filter(|image| image.repo_tags.iter().any(|tag| tag.starts_with(&prefix))) {
        let force = RemoveImageOptionsBuilder::default().force(true).build();
        if let Err(error) = docker.remove_image(&image.id, Some(force), None).await {
            tracing::warn!(%error, image = image.id, "built image not removed from the Docker engine");
        }
    }
}
