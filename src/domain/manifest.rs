//! Image manifests in a registry: creates a manifest of the same configuration and layers with another digest, so that storing it is a push.
//!
//! A digest is the hash of a manifest's bytes. OCI manifests and indexes have annotations. Docker manifests have none, and ECR refuses fields that the
//! format does not define; they get white space that JSON ignores (decision 0060).

use serde_json::{Map, Value};

/// Media types of manifests of which a distinct one can be made.
pub const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest as stored in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Exact text of the manifest, whose hash is the digest.
    pub text: String,
    /// Media type of the manifest.
    pub media_type: String,
}

impl Manifest {
    /// Returns the manifest of the same image with another digest, which depends on this manifest, `key` and `value` only: an OCI manifest or index with
    /// the annotation `key: value`, a Docker manifest or list with `value` as white space. Media type, configuration and layers stay.
    ///
    /// # Errors
    /// The reason why no distinct manifest can be made.
    pub fn distinct(&self, key: &str, value: &str) -> Result<Self, String> {
        let manifest: Map<String, Value> =
            serde_json::from_str(&self.text).map_err(|error| format!("its manifest is no JSON object: {error}"))?;
        // The type inside the manifest takes precedence: a registry may not have kept the type with which it was pushed.
        let media_type = manifest.get("mediaType").and_then(Value::as_str).unwrap_or(&self.media_type).to_owned();
        let text = match media_type.as_str() {
            OCI_MANIFEST | OCI_INDEX => annotated(manifest, key, value)?,
            DOCKER_MANIFEST | DOCKER_LIST => spaced(&self.text, value),
            other => {
                return Err(format!(
                    "its manifest is of type {other:?}; push it as an OCI image or a Docker image of schema 2"
                ));
            }
        };
        Ok(Self { text, media_type })
    }
}

fn annotated(mut manifest: Map<String, Value>, key: &str, value: &str) -> Result<String, String> {
    let annotations = manifest.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    let Value::Object(annotations) = annotations else {
        return Err("its annotations are no JSON object".to_owned());
    };
    annotations.insert(key.to_owned(), Value::from(value));
    Ok(Value::Object(manifest).to_string())
}

/// Replaces the blanks before the last brace of a JSON object by the bits of `value`: a space for each 0, a tab for each 1.
fn spaced(object: &str, value: &str) -> String {
    let object = object.trim_end();
    let body = object.strip_suffix('}').unwrap_or(object).trim_end_matches([' ', '\t']);
    let bits = value.bytes().flat_map(|byte| (0..u8::BITS).rev().map(move |bit| byte >> bit & 1 == 1));
    let blanks: String = bits.map(|bit| if bit { '\t' } else { ' ' }).collect();
    format!("{body}{blanks}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn distinct(manifest: &Value, media_type: &str) -> Result<(Value, String), String> {
        let manifest = Manifest { text: manifest.to_string(), media_type: media_type.to_owned() };
        let distinct = manifest.distinct("dev.panda.deployment", "dep_1")?;
        Ok((serde_json::from_str(&distinct.text).unwrap(), distinct.media_type))
    }

    #[test]
    fn oci_manifest_and_index_only_gain_the_annotation() {
        for media_type in [OCI_MANIFEST, OCI_INDEX] {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type, "manifests": [{"digest": "sha256:1"}], "annotations": {"a": "b"},
            });
            let mut expected = manifest.clone();
            expected["annotations"]["dev.panda.deployment"] = json!("dep_1");
            assert_eq!(distinct(&manifest, media_type).unwrap(), (expected, media_type.to_owned()));
        }
        let bare = json!({"schemaVersion": 2, "layers": []});
        let (with, media_type) = distinct(&bare, OCI_MANIFEST).unwrap();
        assert_eq!(
            (&with["annotations"], media_type.as_str()),
            (&json!({"dev.panda.deployment": "dep_1"}), OCI_MANIFEST)
        );
    }

    #[test]
    fn docker_manifest_and_list_only_gain_white_space() {
        // As Docker writes it.
        let text = "{\n   \"schemaVersion\": 2,\n   \"layers\": []\n}";
        for media_type in [DOCKER_MANIFEST, DOCKER_LIST] {
            let manifest = Manifest { text: text.to_owned(), media_type: media_type.to_owned() };
            let of = |value: &str| manifest.distinct("dev.panda.deployment", value).unwrap();
            let (first, second) = (of("dep_1-2"), of("dep_1-3"));
            assert!(first.text != text && first != second && first == of("dep_1-2"), "by the value only");
            for distinct in [&first, &second] {
                assert_eq!(distinct.media_type, media_type);
                assert_eq!(
                    distinct.text.split_whitespace().collect::<String>(),
                    text.split_whitespace().collect::<String>()
                );
                let (before, after): (Value, Value) =
                    (serde_json::from_str(text).unwrap(), serde_json::from_str(&distinct.text).unwrap());
                assert_eq!(before, after);
            }
            assert_eq!(
                first.distinct("dev.panda.deployment", "dep_1-3").unwrap(),
                second,
                "the white space is replaced, and does not grow"
            );
        }
    }

    #[test]
    fn rejects_unsupported_manifests() {
        let old = json!({"schemaVersion": 1, "name": "x"});
        assert!(
            distinct(&old, "application/vnd.docker.distribution.manifest.v1+json").unwrap_err().contains("schema 2")
        );
        assert!(distinct(&json!([]), OCI_MANIFEST).unwrap_err().contains("no JSON object"));
        assert!(distinct(&json!({"annotations": []}), OCI_MANIFEST).unwrap_err().contains("annotations"));
    }
}
