//! ECR: repositories, and the images whose pushes the registry reported.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Repositories by account and name.
pub type StoredRepositories = BTreeMap<(String, String), StoredRepository>;

pub struct StoredRepository {
    pub created: DateTime<Utc>,
    pub tags: Vec<Value>,
    pub immutable: bool,
    pub images: BTreeMap<String, Image>,
    pub lifecycle_policy: Option<String>,
}

pub struct Image {
    pub tags: BTreeSet<String>,
    pub pushed: DateTime<Utc>,
    pub size: u64,
    pub media_type: String,
}

impl StoredRepository {
    /// Records a push. Returns false when the tag already pointed to this digest, which raises no event.
    pub fn record(&mut self, digest: &str, tag: Option<&str>, size: u64, media_type: &str) -> bool {
        let known = self.images.contains_key(digest);
        let image = self.images.entry(digest.to_owned()).or_insert_with(|| Image {
            tags: BTreeSet::new(),
            pushed: Utc::now(),
            size,
            media_type: media_type.to_owned(),
        });
        let Some(tag) = tag else { return !known };
        if !image.tags.insert(tag.to_owned()) {
            return false;
        }
        image.pushed = Utc::now();
        for (other, image) in &mut self.images {
            if other != digest {
                image.tags.remove(tag);
            }
        }
        true
    }
}
