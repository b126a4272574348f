//! What a stack leaves in an engine that is not its own.

use bollard::Docker;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};

/// Removes the images that were tagged for the registry at `host_port`, which is going away: nobody could pull or push them again.
///
/// What cannot be removed is only reported: the disk space is not worth a failed command.
pub async fn remove_of_registry(docker: &Docker, host_port: &str) {
    let prefix = format!("{host_port}/");
    let images = match docker.list_images(Some(ListImagesOptionsBuilder::default().build())).await {
        Ok(images) => images,
        Err(error) => {
            tracing::warn!(%error, "the built images could not be listed, so they stay in the Docker engine");
            return;
        }
    };
    for image in images.into_iter().filter(|image| image.repo_tags.iter().any(|tag| tag.starts_with(&prefix))) {
        let force = RemoveImageOptionsBuilder::default().force(true).build();
        if let Err(error) = docker.remove_image(&image.id, Some(force), None).await {
            tracing::warn!(%error, image = image.id, "a built image stays in the Docker engine");
        }
    }
}
