//! Decides from an execution's input for which image it was started, and reads the ARN that the pipeline leaves in a secret.

use serde_json::Value;

/// Longest excerpt of an image's name from an input, in characters.
const MAX_NAME_CHARS: usize = 128;

/// ECR's limit for a repository's name, in bytes.
const MAX_REPOSITORY_BYTES: usize = 256;

/// Appended to an attempt's tag when its image is pushed again with another manifest.
pub const AGAIN: &str = ".again";

/// Reports whether `input` names the pushed image: by the attempt's tag, also with [`AGAIN`], or by its digest. From the second attempt on, the digest
/// may be the one of an earlier attempt, whose execution has ended: then only the tag is unique.
pub fn names_image(input: &str, tag: &str, digest: &str, digest_is_unique: bool) -> bool {
    (digest_is_unique && !digest.is_empty() && input.contains(digest))
        || names_tag(input, tag)
        || names_tag(input, &format!("{tag}{AGAIN}"))
}

/// Reports whether `text` contains `tag` as a whole: `dep_x` must not match `dep_x-2`.
fn names_tag(text: &str, tag: &str) -> bool {
    let continues = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.match_indices(tag).any(|(at, _)| !text[at + tag.len()..].starts_with(continues))
}

/// Describes the image of ECR's event in `input`, for messages: its tag, else its digest.
pub fn image_of(input: &str) -> Option<String> {
    let event: Value = serde_json::from_str(input).ok()?;
    let detail = event.get("detail")?;
    let name = ["image-tag", "image-digest"].into_iter().find_map(|key| detail.get(key)?.as_str())?;
    Some(name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect())
}

/// Repository and account of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedRepository {
    /// Name of the ECR repository.
    pub repository: String,
    /// Account of the repository; absent if the input does not name one.
    pub account: Option<String>,
}

/// Reads repository and account from ECR's event in `input`.
pub fn repository_of(input: &str) -> Option<PushedRepository> {
    let event: Value = serde_json::from_str(input).ok()?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let repository = text(event.get("detail")?.get("repository-name"))?;
    let is_name = repository.len() <= MAX_REPOSITORY_BYTES && !repository.contains(char::is_control);
    is_name.then(|| PushedRepository { repository, account: text(event.get("account")) })
}

/// Extracts the ARN from the secret's value: the plain ARN, or JSON with `executionArn`.
pub fn execution_arn(secret: &str) -> Option<String> {
    let text = secret.trim();
    let arn = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => object.get("executionArn")?.as_str()?.trim().to_owned(),
        Ok(Value::String(arn)) => arn,
        _ => text.to_owned(),
    };
    (arn.starts_with("arn:") && arn.contains(":states:")).then_some(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_arn_from_text_and_json() {
        let arn = "arn:aws:states:ap-northeast-2:123456789012:execution:pipe:1";
        assert_eq!(execution_arn(arn).as_deref(), Some(arn));
        assert_eq!(execution_arn(&format!(" {{\"executionArn\": \"{arn}\"}}\n")).as_deref(), Some(arn));
        assert_eq!(execution_arn("{}"), None);
        assert_eq!(execution_arn(""), None);
        assert_eq!(execution_arn("arn:aws:s3:::bucket"), None);
    }

    #[test]
    fn ignores_execution_of_another_image() {
        let ours = |input: &str| names_image(input, "dep_abc", "sha256:1", true);
        assert!(ours(r#"{"detail":{"image-digest":"sha256:1"}}"#));
        assert!(ours(r#"{"detail":{"image-tag":"dep_abc"}}"#));
        assert!(!ours(r#"{"detail":{"image-digest":"sha256:2","image-tag":"dep_abd"}}"#));
        assert!(!names_image("{}", "dep_abc", "", true), "an unknown digest names nothing");
    }

    #[test]
    fn ignores_execution_of_another_attempt() {
        let ours = |input: &str| names_image(input, "dep_abc-2", "sha256:1", false);
        assert!(!ours(r#"{"detail":{"image-digest":"sha256:1","image-tag":"dep_abc"}}"#));
        assert!(!ours(r#"{"detail":{"image-digest":"sha256:1","image-tag":"dep_abc-20"}}"#));
        assert!(ours(r#"{"detail":{"image-digest":"sha256:1","image-tag":"dep_abc-2"}}"#));
        assert!(ours(r#"{"detail":{"image-digest":"sha256:7","image-tag":"dep_abc-2.again"}}"#));
        assert!(!ours(r#"{"detail":{"image-digest":"sha256:7","image-tag":"dep_abc.again"}}"#));
        assert!(!ours(r#"{"detail":{"image-digest":"sha256:7","image-tag":"dep_abc-2.again-x"}}"#));
    }

    #[test]
    fn describes_image_of_event() {
        assert_eq!(image_of(r#"{"detail":{"image-digest":"sha256:2","image-tag":"v1"}}"#).as_deref(), Some("v1"));
        assert_eq!(image_of(r#"{"detail":{"image-digest":"sha256:2"}}"#).as_deref(), Some("sha256:2"));
        assert_eq!(image_of("no JSON"), None);
        assert_eq!(image_of(r#"{"detail":{"image-tag":7}}"#), None);
    }
}
