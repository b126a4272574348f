//! The Docker engine: building, tagging and pushing images.
//!
//! The classic builder is used: every engine has it, and it needs no session of its own. Nothing is kept between calls
//! but the engine's address, so an engine that is away, restarted or replaced by another version needs no care.

mod build;
mod context;
mod ignore;
mod labelled;
mod output;
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
pub use context::{Context, ContextError, Entries, Entry, EntryKind};
pub use ignore::Descent;
pub use labelled::LabelledImage;
pub(super) use output::{Lines, plain};
pub use push::{PushError, PushLine, PushedImage};

use super::{ClientError, ErrorKind, buildkit::Address, error::chain};
use crate::bounded;
use crate::failpoints::around;

/// The longest that the engine may take to answer a plain call.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest that the engine may take to *begin* its answer to a build or a push. It reads the whole context before it
/// says the first word, so this also bounds the upload; what follows is bounded by the caller.
const STREAM_TIMEOUT: Duration = Duration::from_mins(30);

/// What TLS with an engine needs, by the names that Docker's own tools give them: the authority, and who we are.
const CERTS: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// Where an engine usually listens.
const USUAL_SOCKET: &str = "unix:///var/run/docker.sock";

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    /// Its id, `sha256:…`.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its layers have unpacked, in bytes.
    pub size: u64,
    /// The digests under which registries know it, `repository@sha256:…`.
    pub repo_digests: Vec<String>,
}

/// A Docker engine, by its address.
#[derive(Clone, Debug)]
pub struct Docker {
    host: Option<String>,
    certs: Option<PathBuf>,
}

impl Docker {
    /// An engine at `host`, in the syntax of `DOCKER_HOST` (`unix://`, `tcp://`, `http://`). None: the variable
    /// itself, or the first of the usual sockets that exists when a call is made. The engine need not be up. With `DOCKER_TLS_VERIFY` and
    /// `DOCKER_CERT_PATH` in the environment one at `tcp://` is spoken to over TLS, as by Docker's own tools.
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

    /// Speaks TLS with an engine at `tcp://`: what is in this folder says who the engine has to be, and who we are. The files are read
    /// again for each call, so that renewed ones need no restart.
    pub fn with_tls(self, folder: Option<&Path>) -> Result<Self, ClientError> {
        let Some(folder) = folder else { return Ok(self) };
        let invalid = |message: String| Err(ClientError::new(ErrorKind::Invalid, "docker connect", message));
        match &self.host {
            Some(host) if host.starts_with("tcp://") => {}
            host => {
                let host = host.as_deref().unwrap_or("the usual socket");
                return invalid(format!("{} is for an engine at tcp://, not at {host}", folder.display()));
            }
        }
        for file in CERTS.map(|name| folder.join(name)) {
            if let Err(error) = bounded::file(&file) {
                return invalid(format!("{} cannot be read: {error}", file.display()));
            }
        }
        Ok(Self { certs: Some(folder.to_owned()), ..self })
    }

    /// Where its BuildKit is reached.
    pub(super) fn address(&self) -> Address {
        Address { host: self.host.clone().unwrap_or_else(usual_socket), certs: self.certs.clone() }
    }

    /// The engine's version.
    pub async fn version(&self) -> Result<String, ClientError> {
        let engine = self.engine("docker version", CALL_TIMEOUT).await?;
        let version = engine.version().await.map_err(|error| failed("docker version", &error))?;
        Ok(version.version.unwrap_or_default())
    }

    /// Whether the engine answers.
    pub async fn ping(&self) -> Result<(), ClientError> {
        let engine = self.engine("docker ping", CALL_TIMEOUT).await?;
        engine.ping().await.map(drop).map_err(|error| failed("docker ping", &error))
    }

    /// The image of that name or id, if the engine has it.
    pub async fn find_image(&self, reference: &str) -> Result<Option<LocalImage>, ClientError> {
        const CALL: &str = "docker image inspect";
        checked(CALL, reference)?;
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        let image = match around(CALL, engine.inspect_image(reference)).await {
            Ok(image) => image,
            Err(error) => {
                let error = failed(CALL, &error);
                return if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) };
            }
        };
        let id =
            image.id.ok_or_else(|| ClientError::new(ErrorKind::Unavailable, CALL, "the answer has no image id"))?;
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect();
        let size = image.size.and_then(|size| size.try_into().ok()).unwrap_or_default();
        Ok(Some(LocalImage { id, labels, size, repo_digests: image.repo_digests.unwrap_or_default() }))
    }

    /// Gives the image `source` the further name `target` (`repository:tag`); a name in use moves to it.
    pub async fn tag(&self, source: &str, target: &str) -> Result<(), ClientError> {
        const CALL: &str = "docker tag";
        checked(CALL, source)?;
        checked(CALL, target)?;
        let (repository, tag) = repository_and_tag(target);
        let tag = tag.ok_or_else(|| ClientError::new(ErrorKind::Invalid, CALL, format!("{target:?} has no tag")))?;
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        around(CALL, engine.tag_image(source, Some(options))).await.map_err(|error| failed(CALL, &error))
    }

    /// Removes the name, and with the last name the image; one that is not there is `NotFound`.
    pub async fn remove_image(&self, reference: &str) -> Result<(), ClientError> {
        const CALL: &str = "docker rmi";
        checked(CALL, reference)?;
        let engine = self.engine(CALL, CALL_TIMEOUT).await?;
        // Its untagged parents are the build cache: another build may be standing on one of them at this moment.
        let options = RemoveImageOptionsBuilder::default().force(false).noprune(true).build();
        around(CALL, engine.remove_image(reference, Some(options), None))
            .await
            .map(drop)
            .map_err(|error| failed(CALL, &error))
    }

    /// A connection that speaks the engine's version of the protocol. Asked anew for each call (one short request), for
    /// an engine refuses every call in a version newer than its own.
    async fn engine(&self, call: &'static str, timeout: Duration) -> Result<bollard::Docker, ClientError> {
        let host = self.host.clone().unwrap_or_else(usual_socket);
        let engine = match &self.certs {
            Some(folder) => {
                let [ca, cert, key] = CERTS.map(|name| folder.join(name));
                bollard::Docker::connect_with_ssl(&host, &key, &cert, &ca, CALL_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
            }
            None => bollard::Docker::connect_with_host(&host),
        };
        let engine = engine.map_err(|error| failed(call, &error))?;
        // A shorter limit here: an address that swallows packets must not hold a build for the stream's half hour.
        let engine =
            engine.with_timeout(CALL_TIMEOUT).negotiate_version().await.map_err(|error| failed(call, &error))?;
        Ok(engine.with_timeout(timeout))
    }
}

/// The first of the usual sockets that is there: the system's, a rootless engine's, Docker Desktop's.
fn usual_socket() -> String {
    let rootless = env::var("XDG_RUNTIME_DIR").ok().map(|folder| format!("unix://{folder}/docker.sock"));
    let desktop = env::var("HOME").ok().map(|folder| format!("unix://{folder}/.docker/run/docker.sock"));
    let there = |host: &String| host.strip_prefix("unix://").is_some_and(|path| Path::new(path).exists());
    let mut candidates = [Some(USUAL_SOCKET.to_owned()), rootless, desktop].into_iter().flatten();
    candidates.find(there).unwrap_or_else(|| USUAL_SOCKET.to_owned())
}

/// A reference becomes part of a URL's path: only the characters that references are made of may pass.
fn checked(call: &'static str, reference: &str) -> Result<(), ClientError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if reference.is_empty()
        || !reference.chars().all(fine)
        || reference.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(ClientError::new(ErrorKind::Invalid, call, format!("{reference:?} is not an image reference")));
    }
    Ok(())
}

/// `host:5000/a/b:tag` → (`host:5000/a/b`, `tag`): a colon before the last slash belongs to the port.
fn repository_and_tag(reference: &str) -> (&str, Option<&str>) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (reference, None),
    }
}

/// Every failure of the engine's API but those told inside a stream.
fn failed(call: &'static str, error: &EngineError) -> ClientError {
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
    fn a_reference_is_taken_apart_at_its_tag_not_at_its_port() {
        assert_eq!(repository_and_tag("h:5000/a/b:t"), ("h:5000/a/b", Some("t")));
        assert_eq!(repository_and_tag("h:5000/a/b"), ("h:5000/a/b", None));
        assert_eq!(repository_and_tag("busybox:1"), ("busybox", Some("1")));
    }

    #[test]
    fn a_reference_that_could_leave_its_place_in_the_url_is_refused() {
        for bad in ["", "a b", "a?b", "a#b", "../x", "a//b", "a%2e", "a/./b"] {
            assert_eq!(checked("x", bad).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
        }
        for good in ["busybox:1", "127.0.0.1:5000/a-b/c_d:v1.0", "a@sha256:0af", "sha256:0af"] {
            assert!(checked("x", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_address_in_another_syntax_is_refused_at_once() {
        for bad in ["/var/run/docker.sock", "ssh://host", "unix://", "https://x"] {
            assert_eq!(Docker::connect(Some(bad)).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
        }
    }
}
