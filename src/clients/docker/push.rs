//! Pushes an image to a registry.

use std::{collections::BTreeMap, fmt};

use bollard::{
    auth::DockerCredentials, errors::Error as EngineError, models::PushImageInfo,
    query_parameters::PushImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

use super::{
    super::{ClientError, ErrorKind, aws::RegistryLogin, build_output::strip_control},
    Docker, STREAM_TIMEOUT, engine_error, validate_reference,
};
use crate::failpoints::reached;

const CALL: &str = "docker push";

/// A change in the state of the image's layers: `Pushed (2 of 5 layers)`, never a byte count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLine {
    /// The layer's new state, in the engine's words.
    pub status: String,
    /// Number of layers in that state, or past it by way of it.
    pub layers: usize,
    /// Number of layers that the engine has reported so far.
    pub of: usize,
}

impl fmt::Display for PushLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {} layers)", self.status, self.layers, self.of)
    }
}

/// Result of a successful push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedImage {
    /// Digest of the manifest as reported by the registry, `sha256:…`.
    pub digest: String,
}

/// Reason why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The engine did not answer, or does not have the image (`NotFound`).
    #[error(transparent)]
    Engine(ClientError),
    /// The registry refused the push, or the engine cannot reach the registry.
    #[error(transparent)]
    Registry(ClientError),
}

impl Docker {
    /// Pushes `repository_uri:tag`. Safe to repeat: the registry keeps the layers that it already has. Dropping the future stops the push.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn push(
        &self,
        repository_uri: &str,
        tag: &str,
        login: &RegistryLogin,
        lines: mpsc::Sender<PushLine>,
    ) -> Result<PushedImage, PushError> {
        validate_reference(CALL, repository_uri)
            .and_then(|()| validate_reference(CALL, tag))
            .map_err(PushError::Engine)?;
        let credentials = DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.expose_secret().to_owned()),
            serveraddress: Some(login.endpoint.clone()),
            ..Default::default()
        };
        let engine = self.engine(CALL, STREAM_TIMEOUT).await.map_err(PushError::Engine)?;
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut answers = std::pin::pin!(engine.push_image(repository_uri, Some(options), Some(credentials)));
        let mut layers = Layers::default();
        let mut digest = None;
        reached("docker push/before");
        while let Some(answer) = answers.next().await {
            reached("docker push/under way");
            let info = answer.map_err(|error| match &error {
                EngineError::DockerStreamError { error } => classify_refusal(error),
                other => PushError::Engine(engine_error(CALL, other)),
            })?;
            digest = digest.or_else(|| info.status.as_deref().and_then(digest_in));
            if let Some(line) = layers.take(&info) {
                // The push continues even if the receiver is gone.
                let _ = lines.send(line).await;
            }
        }
        reached("docker push/after");
        let no_digest =
            || PushError::Engine(ClientError::new(ErrorKind::Unavailable, CALL, "the engine reported no digest"));
        let digest = digest.ok_or_else(no_digest)?;
        Ok(PushedImage { digest })
    }
}

/// Extracts the digest from the engine's final status: `v1: digest: sha256:0af… size: 528`.
fn digest_in(status: &str) -> Option<String> {
    let digest = status.split_once("digest: ")?.1.split_whitespace().next()?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// Counts layers by status. The client library provides no layer ids, but every layer is reported as `Preparing` once and ends in exactly one of the
/// final states, so counts carry the same information.
#[derive(Default)]
struct Layers {
    seen: BTreeMap<String, usize>,
}

impl Layers {
    fn take(&mut self, info: &PushImageInfo) -> Option<PushLine> {
        let status = strip_control(info.status.as_deref()?);
        let status = status.split(" from ").next()?.trim();
        let passing = matches!(status, "Preparing" | "Waiting");
        // `Pushing` repeats with every few kilobytes: only the first report of it is a change.
        let repeating = status == "Pushing";
        if !passing && !repeating && !matches!(status, "Pushed" | "Layer already exists" | "Mounted") {
            return None;
        }
        let count = self.seen.entry(status.to_owned()).or_default();
        if repeating && *count > 0 {
            return None;
        }
        *count += 1;
        let layers = *count;
        let of = self.seen.get("Preparing").copied().unwrap_or_default().max(layers);
        // All layers are prepared in quick succession: one line for all is enough.
        (!passing || layers == 1 && status == "Preparing").then(|| PushLine { status: status.to_owned(), layers, of })
    }
}

/// Classifies an error inside the stream. The engine passes on the registry's message without its status, so only the text distinguishes errors.
///
/// An unknown text counts as temporary: a push is safe to repeat, and refused or reset connections, 5xx responses and uploads that the registry lost
/// have many different texts. Only known texts are final.
fn classify_refusal(text: &str) -> PushError {
    const IMAGE_MISSING: [&str; 2] = ["no such image", "does not exist locally"];
    const THROTTLED: [&str; 4] = ["toomanyrequests", "too many requests", "rate exceeded", "throttl"];
    const CONFLICT: [&str; 2] = ["immutable", "cannot be overwritten"];
    const DENIED: [&str; 8] = [
        "denied",
        "unauthorized",
        "not authorized",
        "no basic auth credentials",
        "authentication required",
        "token has expired",
        "authorization failed",
        "forbidden",
    ];
    // Concerns the repository; a `404` for a layer means that the registry has lost the upload.
    const NOT_FOUND: [&str; 4] = ["name unknown", "name_unknown", "repository name not known", "repository with name"];
    const INVALID: [&str; 4] = [
        "http response to https client",
        "invalid reference",
        "certificate signed by unknown authority",
        "manifest invalid",
    ];
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let error = |kind| ClientError::new(kind, CALL, strip_control(text));
    if says(&IMAGE_MISSING) {
        return PushError::Engine(error(ErrorKind::NotFound));
    }
    PushError::Registry(error(if says(&THROTTLED) {
        ErrorKind::Throttled
    } else if says(&CONFLICT) {
        ErrorKind::Conflict
    } else if says(&DENIED) {
        ErrorKind::Denied
    } else if says(&NOT_FOUND) {
        ErrorKind::NotFound
    } else if says(&INVALID) {
        ErrorKind::Invalid
    } else {
        ErrorKind::Unavailable
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extracts_digest_from_final_status() {
        assert_eq!(digest_in("v1: digest: sha256:0af1 size: 528").as_deref(), Some("sha256:0af1"));
        assert_eq!(digest_in("Pushed"), None);
        assert_eq!(digest_in("v1: digest: nonsense"), None);
    }

    #[test]
    fn reports_layer_changes_without_byte_counts() {
        let mut layers = Layers::default();
        let statuses = [
            "The push refers to repository [x]",
            "Preparing",
            "Preparing",
            "Waiting",
            "Pushing",
            "Pushing",
            "Pushing",
            "Layer already exists",
            "Pushed",
            "v1: digest: sha256:0 size: 1",
        ];
        let lines: Vec<String> = statuses
            .iter()
            .filter_map(|status| layers.take(&PushImageInfo { status: Some((*status).into()), ..Default::default() }))
            .map(|line| line.to_string())
            .collect();
        let expected = [
            "Preparing (1 of 1 layers)",
            "Pushing (1 of 2 layers)",
            "Layer already exists (1 of 2 layers)",
            "Pushed (1 of 2 layers)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn classifies_errors_by_text() {
        for (text, kind) in [
            ("no basic auth credentials", ErrorKind::Denied),
            ("denied: Your authorization token has expired. Reauthenticate and try again.", ErrorKind::Denied),
            ("denied: User: arn:aws:iam::1:user/x is not authorized to perform: ecr:PutImage", ErrorKind::Denied),
            ("unauthorized: authentication required", ErrorKind::Denied),
            ("unexpected status from PUT request to https://r/v2/x/blobs/uploads/1: 403 Forbidden", ErrorKind::Denied),
            (
                "push access denied, repository does not exist or may require authorization: authorization failed",
                ErrorKind::Denied,
            ),
            ("name unknown: The repository with name 'x' does not exist", ErrorKind::NotFound),
            (
                "tag invalid: The image tag 'v1' already exists and cannot be overwritten because the repository is immutable.",
                ErrorKind::Conflict,
            ),
            ("toomanyrequests: Rate exceeded", ErrorKind::Throttled),
            ("received unexpected HTTP status: 429 Too Many Requests", ErrorKind::Throttled),
            ("dial tcp 127.0.0.1:1: connect: connection refused", ErrorKind::Unavailable),
            ("write tcp 10.0.0.1:1->10.0.0.2:443: write: connection reset by peer", ErrorKind::Unavailable),
            ("dial tcp: lookup registry.example.com: no such host", ErrorKind::Unavailable),
            ("received unexpected HTTP status: 500 Internal Server Error", ErrorKind::Unavailable),
            (
                "unexpected status from PUT request to https://r/v2/x/blobs/uploads/1: 404 Not Found",
                ErrorKind::Unavailable,
            ),
            ("blob upload unknown: blob upload unknown to registry", ErrorKind::Unavailable),
            ("manifest blob unknown: blob unknown to registry", ErrorKind::Unavailable),
            ("an unknown text", ErrorKind::Unavailable),
            ("http: server gave HTTP response to HTTPS client", ErrorKind::Invalid),
            ("x509: certificate signed by unknown authority", ErrorKind::Invalid),
        ] {
            match classify_refusal(text) {
                PushError::Registry(error) => assert_eq!(error.kind, kind, "{text}"),
                PushError::Engine(error) => panic!("{text}: {error}"),
            }
        }
    }

    #[test]
    fn missing_local_image_is_an_engine_error() {
        let text = "An image does not exist locally with the tag: 127.0.0.1:1/acme-shop";
        assert!(matches!(classify_refusal(text), PushError::Engine(error) if error.kind == ErrorKind::NotFound));
    }
}
