//! Images that carry a label.

use std::collections::HashMap;

use bollard::query_parameters::ListImagesOptionsBuilder;

use super::{CALL_TIMEOUT, Docker, failed};
use crate::clients::ClientError;
use crate::failpoints::around;

/// An image that the engine has, found by a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    /// Its id, `sha256:…`.
    pub id: String,
    /// What the label says.
    pub value: String,
    /// Its names, `repository:tag`.
    pub tags: Vec<String>,
}

impl LabelledImage {
    /// What has to be removed for it to be gone: each of its names, or itself when it has none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let itself = self.tags.is_empty().then_some(self.id.as_str());
        self.tags.iter().map(String::as_str).chain(itself)
    }
}

impl Docker {
    /// The images that have `label`, whatever it says.
    pub async fn labelled_images(&self, label: &str) -> Result<Vec<LabelledImage>, ClientError> {
        const CALL: &str = "docker images";
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = around(CALL, engine.list_images(Some(options))).await.map_err(|error| failed(CALL, &error))?;
        let labelled = |mut image: bollard::models::ImageSummary| {
            let value = image.labels.remove(label)?;
            Some(LabelledImage { id: image.id, value, tags: image.repo_tags })
        };
        Ok(images.into_iter().filter_map(labelled).collect())
    }
}
