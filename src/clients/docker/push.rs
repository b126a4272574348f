//! Pushing an image to a registry.

use std::{collections::BTreeMap, fmt};

use bollard::{
    auth::DockerCredentials, errors::Error as EngineError, models::PushImageInfo,
    query_parameters::PushImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

use super::{
    super::{ClientError, ErrorKind, aws::RegistryLogin},
    Docker, STREAM_TIMEOUT, checked, failed,
    output::plain,
};
use crate::failpoints::reached;

const CALL: &str = "docker push";

/// A change in the state of the image's layers: `Pushed (2 of 5 layers)`, never a count of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLine {
    /// What happened to a layer, in the engine's words.
    pub status: String,
    /// How many layers are in that state or have passed it this way.
    pub layers: usize,
    /// How many layers the image has, as far as the engine has told.
    pub of: usize,
}

impl fmt::Display for PushLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {} layers)", self.status, self.layers, self.of)
    }
}

/// An image that the registry has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedImage {
    /// Its manifest's digest, `sha256:…`, as the registry answered it.
    pub digest: String,
}

impl Docker {
    /// Pushes `repository_uri:tag`; safe to repeat, for the registry keeps the layers that it has. Dropping the future stops it.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn push(
        &self,
        repository_uri: &str,
        tag: &str,
        login: &RegistryLogin,
        lines: mpsc::Sender<PushLine>,
    ) -> Result<PushedImage, ClientError> {
        checked(CALL, repository_uri)?;
        checked(CALL, tag)?;
        let credentials = DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.expose_secret().to_owned()),
            serveraddress: Some(login.endpoint.clone()),
            ..Default::default()
        };
        let engine = self.engine(CALL, STREAM_TIMEOUT).await?;
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut answers = std::pin::pin!(engine.push_image(repository_uri, Some(options), Some(credentials)));
        let mut layers = Layers::default();
        let mut digest = None;
        reached("docker push/before");
        while let Some(answer) = answers.next().await {
            reached("docker push/under way");
            let info = answer.map_err(|error| match &error {
                EngineError::DockerStreamError { error } => refused(error),
                other => failed(CALL, other),
            })?;
            digest = digest.or_else(|| info.status.as_deref().and_then(digest_in));
            if let Some(line) = layers.take(&info) {
                // Nobody listening does not stop the push.
                let _ = lines.send(line).await;
            }
        }
        reached("docker push/after");
        let digest =
            digest.ok_or_else(|| ClientError::new(ErrorKind::Unavailable, CALL, "the engine told no digest"))?;
        Ok(PushedImage { digest })
    }
}

/// The engine's last words: `v1: digest: sha256:0af… size: 528`.
fn digest_in(status: &str) -> Option<String> {
    let digest = status.split_once("digest: ")?.1.split_whitespace().next()?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// Counts layers by status. The protocol's library gives no layer ids, but every layer is told `Preparing` once and ends
/// in exactly one of the final states, so counts tell the same.
#[derive(Default)]
struct Layers {
    seen: BTreeMap<String, usize>,
}

impl Layers {
    fn take(&mut self, info: &PushImageInfo) -> Option<PushLine> {
        let status = plain(info.status.as_deref()?);
        let status = status.split(" from ").next()?.trim();
        let passing = matches!(status, "Preparing" | "Waiting");
        // `Pushing` repeats with every few kilobytes: only its first is a change.
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
        // All layers are prepared in one breath: not worth a line each.
        (!passing || layers == 1 && status == "Preparing").then(|| PushLine { status: status.to_owned(), layers, of })
    }
}

/// A refusal inside the stream: only its text says what it is.
fn refused(text: &str) -> ClientError {
    const DENIED: [&str; 6] = [
        "denied",
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "token has expired",
        "forbidden",
    ];
    const NOT_FOUND: [&str; 4] = ["name unknown", "does not exist", "not found", "no such image"];
    const CONFLICT: [&str; 2] = ["immutable", "cannot be overwritten"];
    const THROTTLED: [&str; 2] = ["toomanyrequests", "too many requests"];
    const INVALID: [&str; 2] = ["http response to https client", "invalid reference"];
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let kind = if says(&THROTTLED) {
        ErrorKind::Throttled
    } else if says(&DENIED) {
        ErrorKind::Denied
    } else if says(&CONFLICT) {
        ErrorKind::Conflict
    } else if says(&NOT_FOUND) {
        ErrorKind::NotFound
    } else if says(&INVALID) {
        ErrorKind::Invalid
    } else {
        // Connections refused or reset, 5xx, uploads that the registry lost: a push is safe to repeat.
        ErrorKind::Unavailable
    };
    ClientError::new(kind, CALL, plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_read_from_the_last_words() {
        assert_eq!(digest_in("v1: digest: sha256:0af1 size: 528").as_deref(), Some("sha256:0af1"));
        assert_eq!(digest_in("Pushed"), None);
        assert_eq!(digest_in("v1: digest: nonsense"), None);
    }

    #[test]
    fn changes_of_layers_are_told_and_byte_counts_are_not() {
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
        let told: Vec<String> = statuses
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
        assert_eq!(told, expected);
    }

    #[test]
    fn a_refusal_is_understood_by_its_text() {
        for (text, kind) in [
            ("no basic auth credentials", ErrorKind::Denied),
            ("denied: Your authorization token has expired. Reauthenticate and try again.", ErrorKind::Denied),
            ("unauthorized: authentication required", ErrorKind::Denied),
            ("name unknown: The repository with name 'x' does not exist", ErrorKind::NotFound),
            (
                "tag invalid: The image tag 'v1' already exists and cannot be overwritten because the repository is immutable.",
                ErrorKind::Conflict,
            ),
            ("toomanyrequests: Rate exceeded", ErrorKind::Throttled),
            ("dial tcp 127.0.0.1:1: connect: connection refused", ErrorKind::Unavailable),
            ("received unexpected HTTP status: 500 Internal Server Error", ErrorKind::Unavailable),
            ("http: server gave HTTP response to HTTPS client", ErrorKind::Invalid),
        ] {
            assert_eq!(refused(text).kind, kind, "{text}");
        }
    }
}
