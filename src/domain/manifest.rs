//! Image manifests in a registry: creates a manifest that differs from another by an annotation only, and so has another digest.

use serde_json::{Map, Value};

/// Media types of manifests that can be annotated, directly or after conversion.
pub const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Media types of the parts of a Docker manifest, each with its equivalent of the Open Container Initiative (OCI): the bytes are the same.
const PARTS: [(&str, &str); 4] = [
    ("application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.docker.image.rootfs.diff.tar", "application/vnd.oci.image.layer.v1.tar"),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ),
];

/// A manifest as stored in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Exact text of the manifest, whose hash is the digest.
    pub text: String,
    /// Media type of the manifest.
    pub media_type: String,
}

impl Manifest {
    /// Returns the manifest of the same image with an additional annotation. Docker manifests cannot have annotations: one is converted to
    /// an OCI manifest with the same configuration and layers, and a Docker list to an OCI index of the same images.
    ///
    /// # Errors
    /// The reason why the manifest cannot be annotated.
    pub fn annotated(&self, key: &str, value: &str) -> Result<Self, String> {
        let mut manifest: Map<String, Value> =
            serde_json::from_str(&self.text).map_err(|error| format!("its manifest is no JSON object: {error}"))?;
        // The type inside the manifest takes precedence: a registry may not have kept the type with which it was pushed.
        let own = manifest.get("mediaType").and_then(Value::as_str).unwrap_or(&self.media_type);
        let media_type = match own {
            OCI_MANIFEST | DOCKER_MANIFEST => OCI_MANIFEST,
            OCI_INDEX | DOCKER_LIST => OCI_INDEX,
            other => {
                return Err(format!(
                    "its manifest is of type {other:?}; push it as an OCI image or a Docker image of schema 2"
                ));
            }
        };
        if own == DOCKER_MANIFEST {
            convert_part(manifest.get_mut("config"))?;
            let layers = manifest.get_mut("layers").and_then(Value::as_array_mut);
            layers.into_iter().flatten().try_for_each(|layer| convert_part(Some(layer)))?;
        }
        manifest.insert("mediaType".to_owned(), Value::from(media_type));
        let annotations = manifest.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        if annotations.is_null() {
            *annotations = Value::Object(Map::new());
        }
        let Value::Object(annotations) = annotations else {
            return Err("its annotations are no JSON object".to_owned());
        };
        annotations.insert(key.to_owned(), Value::from(value));
        Ok(Self { text: Value::Object(manifest).to_string(), media_type: media_type.to_owned() })
    }
}

fn convert_part(part: Option<&mut Value>) -> Result<(), String> {
    let media_type = part.and_then(|part| part.get_mut("mediaType")).ok_or("its manifest has a part without a type")?;
    let name = media_type.as_str().unwrap_or_default();
    let Some((_, converted)) = PARTS.iter().find(|(docker, _)| *docker == name) else {
        return Err(format!("its manifest has a part of the unsupported type {name:?}"));
    };
    *media_type = Value::from(*converted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn annotated(manifest: &Value, media_type: &str) -> Result<(Value, String), String> {
        let manifest = Manifest { text: manifest.to_string(), media_type: media_type.to_owned() };
        let annotated = manifest.annotated("dev.panda.deployment", "dep_1")?;
        Ok((serde_json::from_str(&annotated.text).unwrap(), annotated.media_type))
    }

    #[test]
    fn oci_manifest_and_index_only_gain_the_annotation() {
        for media_type in [OCI_MANIFEST, OCI_INDEX] {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type, "manifests": [{"digest": "sha256:1"}], "annotations": {"a": "b"},
            });
            let mut expected = manifest.clone();
            expected["annotations"]["dev.panda.deployment"] = json!("dep_1");
            assert_eq!(annotated(&manifest, media_type).unwrap(), (expected, media_type.to_owned()));
        }
        let bare = json!({"schemaVersion": 2, "layers": []});
        let (with, media_type) = annotated(&bare, OCI_MANIFEST).unwrap();
        assert_eq!(
            (&with["annotations"], media_type.as_str()),
            (&json!({"dev.panda.deployment": "dep_1"}), OCI_MANIFEST)
        );
    }

    #[test]
    fn docker_manifest_becomes_an_oci_manifest_of_the_same_parts() {
        let part = |kind: &str| json!({"mediaType": kind, "digest": "sha256:1", "size": 7});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": part(PARTS[0].0), "layers": [part(PARTS[1].0), part(PARTS[2].0)],
        });
        let expected = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": part(PARTS[0].1), "layers": [part(PARTS[1].1), part(PARTS[2].1)],
            "annotations": {"dev.panda.deployment": "dep_1"},
        });
        assert_eq!(annotated(&manifest, DOCKER_MANIFEST).unwrap(), (expected, OCI_MANIFEST.to_owned()));
        let list = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [part(DOCKER_MANIFEST)]});
        let (index, media_type) = annotated(&list, DOCKER_LIST).unwrap();
        assert_eq!((&index["manifests"], media_type.as_str()), (&list["manifests"], OCI_INDEX));
    }

    #[test]
    fn rejects_unsupported_manifests() {
        let old = json!({"schemaVersion": 1, "name": "x"});
        assert!(
            annotated(&old, "application/vnd.docker.distribution.manifest.v1+json").unwrap_err().contains("schema 2")
        );
        let odd = json!({"mediaType": DOCKER_MANIFEST, "config": {"mediaType": "application/x"}, "layers": []});
        assert!(annotated(&odd, DOCKER_MANIFEST).unwrap_err().contains("application/x"));
        assert!(annotated(&json!([]), OCI_MANIFEST).unwrap_err().contains("no JSON object"));
        assert!(annotated(&json!({"annotations": []}), OCI_MANIFEST).unwrap_err().contains("annotations"));
    }
}
