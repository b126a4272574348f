//! Lists images by label.

use std::collections::HashMap;

use bollard::query_parameters::ListImagesOptionsBuilder;

use super::{CALL_TIMEOUT, Docker, engine_error};
use crate::clients::ClientError;
use crate::failpoints::around;

/// A local image with the label that was searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    /// Image id of the form `sha256:…`.
    pub id: String,
    /// Value of the label.
    pub value: String,
    /// Names of the image, `repository:tag`.
    pub tags: Vec<String>,
}

impl LabelledImage {
    /// Iterates over the references to remove for the image to be deleted: each of its names, or its id if it has no name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let itself = self.tags.is_empty().then_some(self.id.as_str());
        self.tags.iter().map(String::as_str).chain(itself)
    }
}

impl Docker {
    /// Lists the images that have `label`, with any value.
    pub async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, ClientError> {
        const CALL: &str = "docker images";
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images =
            around(CALL, engine.list_images(Some(options))).await.map_err(|error| engine_error(CALL, &error))?;
        let labelled = |mut image: bollard::models::ImageSummary| {
            let value = image.labels.remove(label)?;
            Some(LabelledImage { id: image.id, value, tags: image.repo_tags })
        };
        Ok(images.into_iter().filter_map(labelled).collect())
    }
}
