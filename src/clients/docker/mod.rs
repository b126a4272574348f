//! Docker engine client: builds with the classic builder, tags and pushes images.
//!
//! Every engine has the classic builder, and it needs no session. Nothing is kept between calls but the engine's address, so an engine that is
//! unreachable, restarted or replaced by another version needs no special handling.

mod build;
mod labels;
mod push;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION,
    errors::Error as EngineError,
    query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder},
};

pub use build::{BuildLimits, BuildRequest, BuiltImage};
pub use labels::LabelledImage;
pub use push::{PushError, PushLine, PushedImage};

use super::{ClientError, ErrorKind, builder_address::BuilderAddress};
use crate::bounded;
use crate::domain::text::chain;
use crate::failpoints::around;

/// Time limit of a plain call.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Time limit until the engine *begins* its response to a build or a push. The engine reads the whole context before it responds, so this also bounds
/// the upload; the caller bounds what follows.
const STREAM_TIMEOUT: Duration = Duration::from_mins(30);

/// Files for TLS with an engine, named as Docker's own tools name them: the certificate authority, and the client's certificate and key.
const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// Default address of a Docker engine.
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// An image in the engine's local store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    /// Image id of the form `sha256:…`.
    pub id: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Unpacked size of its layers in bytes.
    pub size: u64,
    /// Digests under which registries know the image, `repository@sha256:…`.
    pub repo_digests: Vec<String>,
}

/// Client for a Docker engine, identified by its address.
#[derive(Clone, Debug)]
pub struct Docker {
    host: Option<String>,
    certs: Option<PathBuf>,
}

impl Docker {
    /// Creates a client for the engine at `host`, in the syntax of `DOCKER_HOST` (`unix://`, `tcp://`, `http://`). `None` means the variable itself,
    /// or the first of the usual sockets that exists at the time of a call. The engine need not be running. If `DOCKER_TLS_VERIFY` and
    /// `DOCKER_CERT_PATH` are set, an engine at `tcp://` is contacted over TLS, as Docker's own tools do.
    pub fn connect(host: Option<&str>) -> Result<Self, ClientError> {
        let host = host.map(str::to_owned).or_else(|| env::var("DOCKER_HOST").ok()).filter(|host| !host.is_empty());
        if let Some(host) = &host {
            let known = ["unix://", "tcp://", "http://"]
                .iter()
                .any(|scheme| host.len() > scheme.len() && host.starts_with(scheme));
            if !known {
                let message = format!("DOCKER_HOST {host:?} is not a unix://, tcp:// or http:// address");
                return Err(ClientError::new(ErrorKind::Invalid, "docker connect", message));
            }
        }
        Ok(Self { host, certs: None })
    }

    /// Uses TLS with the certificates in `folder` for an engine at `tcp://`. The files are read again for each call, so that renewed certificates
    /// need no restart.
    pub fn with_tls(self, folder: Option<&Path>) -> Result<Self, ClientError> {
        let Some(folder) = folder else { return Ok(self) };
        let invalid = |message: String| Err(ClientError::new(ErrorKind::Invalid, "docker connect", message));
        match &self.host {
            Some(host) if host.starts_with("tcp://") => {}
            host => {
                let host = host.as_deref().unwrap_or("the usual socket");
                return invalid(format!(
                    "the TLS files in {} need an engine at tcp://, not at {host}",
                    folder.display()
                ));
            }
        }
        for file in TLS_FILES.map(|name| folder.join(name)) {
            if let Err(error) = bounded::file(&file) {
                return invalid(format!("{} cannot be read: {error}", file.display()));
            }
        }
        Ok(Self { certs: Some(folder.to_owned()), ..self })
    }

    /// Returns the address at which the engine's BuildKit is reached.
    pub(super) fn address(&self) -> BuilderAddress {
        BuilderAddress { host: self.host.clone().unwrap_or_else(default_socket), certs: self.certs.clone() }
    }

    /// Fetches the engine's version.
    pub async fn version(&self) -> Result<String, ClientError> {
        let engine = self.engine("docker version", CALL_TIMEOUT).await?;
        let version = engine.version().await.map_err(|error| engine_error("docker version", &error))?;
        Ok(version.version.unwrap_or_default())
    }

    /// Checks that the engine answers.
    pub async fn ping(&self) -> Result<(), ClientError> {
        let engine = self.engine("docker ping", CALL_TIMEOUT).await?;
        engine.ping().await.map(drop).map_err(|error| engine_error("docker ping", &error))
    }

    /// Finds the image with that name or id; `None` if the engine does not have it.
    pub async fn find_image(&self, reference: &str) -> Result<Option<LocalImage>, ClientError> {
        const CALL: &str = "docker image inspect";
        validate_reference(CALL, reference)?;
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        let image = match around(CALL, engine.inspect_image(reference)).await {
            Ok(image) => image,
            Err(error) => {
                let error = engine_error(CALL, &error);
                return if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) };
            }
        };
        let id =
            image.id.ok_or_else(|| ClientError::new(ErrorKind::Unavailable, CALL, "the response has no image id"))?;
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect();
        let size = image.size.and_then(|size| size.try_into().ok()).unwrap_or_default();
        Ok(Some(LocalImage { id, labels, size, repo_digests: image.repo_digests.unwrap_or_default() }))
    }

    /// Adds the name `target` (`repository:tag`) to the image `source`; a name in use moves to this image.
    pub async fn tag(&self, source: &str, target: &str) -> Result<(), ClientError> {
        const CALL: &str = "docker tag";
        validate_reference(CALL, source)?;
        validate_reference(CALL, target)?;
        let (repository, tag) = repository_and_tag(target);
        let tag = tag.ok_or_else(|| ClientError::new(ErrorKind::Invalid, CALL, format!("{target:?} has no tag")))?;
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        around(CALL, engine.tag_image(source, Some(options))).await.map_err(|error| engine_error(CALL, &error))
    }

    /// Removes the name, and with the last name the image; fails with `NotFound` if the engine does not have it.
    pub async fn remove_image(&self, reference: &str) -> Result<(), ClientError> {
        const CALL: &str = "docker rmi";
        validate_reference(CALL, reference)?;
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        // Untagged parents are the build cache, and another build may be using one of them right now.
        let options = RemoveImageOptionsBuilder::default().force(false).noprune(true).build();
        around(CALL, engine.remove_image(reference, Some(options), None))
            .await
            .map(drop)
            .map_err(|error| engine_error(CALL, &error))
    }

    /// Connects with the engine's own API version. It is negotiated for each call (one short request), because an engine refuses every call in a
    /// version newer than its own.
    async fn engine(&self, call: &'static str, timeout: Duration) -> Result<bollard::Docker, ClientError> {
        let host = self.host.clone().unwrap_or_else(default_socket);
        let engine = match &self.certs {
            Some(folder) => {
                let [ca, cert, key] = TLS_FILES.map(|name| folder.join(name));
                bollard::Docker::connect_with_ssl(&host, &key, &cert, &ca, CALL_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
            }
            None => bollard::Docker::connect_with_host(&host),
        };
        let engine = engine.map_err(|error| engine_error(call, &error))?;
        // A shorter limit here: an address that swallows packets must not block a build for the stream's half hour.
        let engine =
            engine.with_timeout(CALL_TIMEOUT).negotiate_version().await.map_err(|error| engine_error(call, &error))?;
        Ok(engine.with_timeout(timeout))
    }
}

/// Returns the first usual socket that exists: the system's, a rootless engine's, Docker Desktop's.
fn default_socket() -> String {
    let rootless = env::var("XDG_RUNTIME_DIR").ok().map(|folder| format!("unix://{folder}/docker.sock"));
    let desktop = env::var("HOME").ok().map(|folder| format!("unix://{folder}/.docker/run/docker.sock"));
    let there = |host: &String| host.strip_prefix("unix://").is_some_and(|path| Path::new(path).exists());
    let mut candidates = [Some(DEFAULT_SOCKET.to_owned()), rootless, desktop].into_iter().flatten();
    candidates.find(there).unwrap_or_else(|| DEFAULT_SOCKET.to_owned())
}

/// Checks a reference before it becomes part of a URL path: only characters of image references may pass.
fn validate_reference(call: &'static str, reference: &str) -> Result<(), ClientError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if reference.is_empty()
        || !reference.chars().all(fine)
        || reference.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(ClientError::new(ErrorKind::Invalid, call, format!("{reference:?} is not an image reference")));
    }
    Ok(())
}

/// Splits `host:5000/a/b:tag` into `host:5000/a/b` and `tag`: a colon before the last slash belongs to the port.
fn repository_and_tag(reference: &str) -> (&str, Option<&str>) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (reference, None),
    }
}

/// Converts an error of the engine's API; errors inside a response stream are converted elsewhere.
fn engine_error(call: &'static str, error: &EngineError) -> ClientError {
    match error {
        EngineError::DockerResponseServerError { status_code, message } => {
            ClientError::new(ErrorKind::of_status(*status_code), call, message)
        }
        EngineError::UnsupportedURISchemeError { .. }
        | EngineError::URLParseError { .. }
        | EngineError::InvalidURIError { .. } => ClientError::new(ErrorKind::Invalid, call, chain(error)),
        EngineError::SocketNotFoundError(path) => {
            ClientError::new(ErrorKind::Unavailable, call, format!("no Docker engine listens at {path}"))
        }
        EngineError::RequestTimeoutError => {
            ClientError::new(ErrorKind::Unavailable, call, "the Docker engine did not answer in time")
        }
        other => ClientError::new(ErrorKind::Unavailable, call, chain(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_reference_at_tag() {
        assert_eq!(repository_and_tag("h:5000/a/b:t"), ("h:5000/a/b", Some("t")));
        assert_eq!(repository_and_tag("h:5000/a/b"), ("h:5000/a/b", None));
        assert_eq!(repository_and_tag("busybox:1"), ("busybox", Some("1")));
    }

    #[test]
    fn rejects_reference_with_url_syntax() {
        for bad in ["", "a b", "a?b", "a#b", "../x", "a//b", "a%2e", "a/./b"] {
            assert_eq!(validate_reference("x", bad).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
        }
        for good in ["busybox:1", "127.0.0.1:5000/a-b/c_d:v1.0", "a@sha256:0af", "sha256:0af"] {
            assert!(validate_reference("x", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn rejects_unknown_address_syntax() {
        for bad in ["/var/run/docker.sock", "ssh://host", "unix://", "https://x"] {
            assert_eq!(Docker::connect(Some(bad)).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
        }
    }
}
