//! The builder: the BuildKit or the classic builder of a Docker engine, or a separate `buildkitd`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::build::{BuildError, Progress};
use super::build_context::{BuildContext, Descent};
use super::builder_address::BuilderAddress;
use super::buildkit::{BuildKit, Cache, Daemon, MountedSecrets, Output, Solve};
use super::docker::{BuildLimits, BuildRequest, Docker};
use super::registry_credentials::Credentials;
use super::{ClientError, ErrorKind};
use crate::domain::dockerfile::{Dockerfile, Need};
use crate::domain::{build_spec::BuildOptions, builder::BuilderChoice};
use crate::metrics::BuildMetrics;

/// Docker's own Dockerfile frontend.
const FRONTEND: &str = "docker/dockerfile";

/// A configured builder: an engine, or a remote daemon together with the engine that keeps images.
#[derive(Clone, Debug)]
pub struct Builder {
    name: Arc<str>,
    docker: Docker,
    remote: Option<BuildKit>,
    choice: BuilderChoice,
    metrics: BuildMetrics,
    secret: Arc<OnceLock<SecretString>>,
    frontends: Arc<[String]>,
}

/// The kind of builder that was detected.
#[derive(Clone, Debug)]
pub enum DetectedBuilder {
    /// The classic builder of a Docker engine.
    Classic {
        /// Docker Engine version, such as `20.10.24`.
        engine: String,
    },
    /// BuildKit inside a Docker engine.
    Engine {
        /// Docker Engine version, such as `27.3.1`.
        engine: String,
        /// BuildKit version; `None` when the engine does not report one.
        version: Option<String>,
        /// Client connected through the engine.
        buildkit: BuildKit,
    },
    /// A separate `buildkitd`, which pushes images itself.
    Remote {
        /// BuildKit version; `None` when the daemon does not report one.
        version: Option<String>,
        /// Client connected to the daemon.
        buildkit: BuildKit,
    },
}

/// Parameters of one build, the same for every kind of builder.
#[derive(Clone, Debug)]
pub struct BuildJob<'a> {
    /// Folder of the checked-out repository.
    pub root: &'a Path,
    /// Context folder, relative to `root`; empty for `root` itself.
    pub context: &'a Path,
    /// Path of the Dockerfile, relative to `root`.
    pub dockerfile: &'a Path,
    /// Image name as `repository:tag`: in the engine, or in the registry that a remote builder pushes to.
    pub image: &'a str,
    /// Target, build arguments and platform, as requested by the user.
    pub options: &'a BuildOptions,
    /// Build arguments that Panda adds; `options` takes precedence.
    pub own_args: BTreeMap<String, String>,
    /// Labels to set on the image.
    pub labels: BTreeMap<String, String>,
    /// Date of the commit, for reproducible timestamps in the image.
    pub committed_at: Option<DateTime<Utc>>,
    /// Prefix of cache names, see [`Builder::cache_domain`].
    pub cache_domain: String,
    /// Repository for cached layers, `repository:tag`; used by remote builders only.
    pub cache: Option<String>,
    /// Registry logins for base images and for the push.
    pub credentials: Credentials,
    /// Build secrets by name.
    pub secrets: MountedSecrets,
    /// Network mode of RUN steps.
    pub network: Option<&'a str>,
    /// Resource limits of the build.
    pub limits: &'a BuildLimits,
}

impl Builder {
    /// Creates a builder named `name` that uses the engine `docker`, or the daemon `remote` if given.
    pub fn new(
        name: &str,
        docker: Docker,
        remote: Option<BuilderAddress>,
        choice: BuilderChoice,
        metrics: BuildMetrics,
    ) -> Self {
        let remote = remote.map(|address| BuildKit::new(Daemon::BuildKit, address, metrics.clone()));
        let frontends = [FRONTEND.to_owned()].into();
        Self { name: name.into(), docker, remote, choice, metrics, secret: Arc::default(), frontends }
    }

    /// Allows frontends besides `docker/dockerfile`: an image name, or every image below a name that ends with a slash.
    #[must_use]
    pub fn with_frontends(self, allowed: &[String]) -> Self {
        let own = [FRONTEND.to_owned()];
        Self { frontends: own.iter().chain(allowed).cloned().collect(), ..self }
    }

    /// Sets the secret from which names of cache domains are derived; has no effect after the first use. Replicas that share a builder must share the
    /// secret. Without this call each process uses a random one.
    pub fn set_secret(&self, secret: SecretString) {
        let _ = self.secret.set(secret);
    }

    /// Returns `default`, or the name from the operator's file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reports whether the builder pushes its images itself, so that no engine keeps a copy.
    pub fn pushes(&self) -> bool {
        self.remote.is_some()
    }

    /// Returns the engine that keeps built images.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Returns the cache name prefix of a trust domain: the same for each build of `owner`, and impossible for other owners to guess.
    pub fn cache_domain(&self, owner: &str) -> String {
        let secret = self.secret.get_or_init(|| SecretString::from(uuid::Uuid::new_v4().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let tag = hmac::sign(&key, owner.to_lowercase().as_bytes());
        // Also used as a host name, which has at most 63 characters.
        format!("panda-{}", hex::encode(&tag.as_ref()[..24]))
    }

    /// Detects the kind of builder and updates the metrics. Called before each build: an engine may have been replaced.
    pub async fn active(&self) -> Result<DetectedBuilder, ClientError> {
        let active = self.find().await?;
        self.metrics.set_builder(&self.name, active.kind(), active.describe(), active.enforced_limits());
        Ok(active)
    }

    /// Runs a build, and counts a failure by its cause. Returns the digest of the pushed image when the builder pushes images itself.
    pub async fn build(
        &self,
        active: &DetectedBuilder,
        build: BuildJob<'_>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Option<String>, BuildError> {
        // Boxed: a build with its connection is the largest future of the program.
        let outcome = Box::pin(self.run(active, build, progress)).await;
        if let Err(BuildError::Failed { fault, .. }) = &outcome {
            self.metrics.fault(*fault);
        }
        outcome
    }

    async fn run(
        &self,
        active: &DetectedBuilder,
        build: BuildJob<'_>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Option<String>, BuildError> {
        let (buildkit, output) = match active {
            DetectedBuilder::Classic { .. } => return classic(&self.docker, build, progress).await.map(|()| None),
            DetectedBuilder::Engine { buildkit, .. } => (buildkit, Output::Engine(build.image.to_owned())),
            DetectedBuilder::Remote { buildkit, .. } => (buildkit, Output::Push(build.image.to_owned())),
        };
        let pushes = matches!(output, Output::Push(_));
        let context = open(&build).await?;
        let frontend = self.frontend(active, &context)?;
        let solve = Solve {
            context: Arc::new(context),
            options: build.options.clone(),
            frontend,
            own_args: build.own_args,
            labels: build.labels,
            committed_at: build.committed_at,
            output,
            cache: build.cache.filter(|_| pushes).map(|reference| Cache { reference }),
            cache_domain: build.cache_domain,
            credentials: build.credentials,
            secrets: build.secrets,
            network: build.network.map(str::to_owned),
            ulimits: build.limits.ulimits.clone(),
            cgroup_parent: build.limits.cgroup_parent.clone(),
            output_bytes: build.limits.output_bytes,
        };
        let solved = buildkit.solve(solve, progress).await?;
        match (pushes, solved.digest) {
            (false, _) => Ok(None),
            (true, Some(digest)) => Ok(Some(digest)),
            (true, None) => {
                Err(ClientError::new(ErrorKind::Unavailable, "buildkit solve", "the builder reported no digest").into())
            }
        }
    }

    /// Returns the frontend that the Dockerfile names, if it is allowed; `None` for the daemon's own frontend, which must support the Dockerfile's
    /// syntax.
    fn frontend(&self, active: &DetectedBuilder, context: &BuildContext) -> Result<Option<String>, BuildError> {
        let dockerfile = Dockerfile::parse(&context.dockerfile_text());
        if let Some((line, image)) = dockerfile.syntax() {
            if self.frontends.iter().any(|allowed| is_below(image, allowed)) {
                return Ok(Some(image.to_owned()));
            }
            let what = format!("`# syntax={image}`, a frontend that is not allowed here");
            let remedy = "use docker/dockerfile, or ask the operator to add it to PANDA_BUILD_FRONTENDS";
            return Err(BuildError::Unsupported(vec![Need { line, what, remedy }]));
        }
        let needs = match active {
            DetectedBuilder::Engine { engine, .. } if is_older(engine, FIRST_CURRENT_ENGINE) => {
                dockerfile.needs_newer_buildkit()
            }
            _ => Vec::new(),
        };
        if needs.is_empty() { Ok(None) } else { Err(BuildError::Unsupported(needs)) }
    }

    async fn find(&self) -> Result<DetectedBuilder, ClientError> {
        if let Some(buildkit) = &self.remote {
            return Ok(DetectedBuilder::Remote { version: buildkit.version().await?, buildkit: buildkit.clone() });
        }
        let engine = self.docker.version().await?;
        if self.choice == BuilderChoice::Classic {
            return Ok(DetectedBuilder::Classic { engine });
        }
        let buildkit = BuildKit::new(Daemon::Engine, self.docker.address(), self.metrics.clone());
        match (buildkit.version().await, self.choice) {
            (Ok(version), _) => Ok(DetectedBuilder::Engine { engine, version, buildkit }),
            // The engine answered that it has no BuildKit. An engine that did not answer is asked again later, not replaced by the classic builder.
            (Err(error), BuilderChoice::Auto) if error.kind == ErrorKind::NotFound => {
                Ok(DetectedBuilder::Classic { engine })
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl DetectedBuilder {
    /// Reports whether the builder pushes its images itself, so that no engine keeps a copy.
    pub fn pushes(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// Returns the label value of the metrics: `classic`, `buildkit` or `remote`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Classic { .. } => "classic",
            Self::Engine { .. } => "buildkit",
            Self::Remote { .. } => "remote",
        }
    }

    /// Names the configured limits that are enforced on RUN steps. BuildKit ignores memory and CPU limits of a build: there the limits of the builder
    /// itself apply, or of the control group that the operator gave it.
    pub fn enforced_limits(&self) -> &'static str {
        match self {
            Self::Classic { .. } => "memory, cpus, ulimits",
            Self::Engine { .. } | Self::Remote { .. } => "ulimits, cgroup parent",
        }
    }

    /// Formats name and version for events and logs.
    pub fn describe(&self) -> String {
        match self {
            Self::Classic { engine } => format!("classic builder of Docker Engine {engine}"),
            Self::Engine { engine, version: Some(version), .. } => {
                format!("BuildKit {version} of Docker Engine {engine}")
            }
            Self::Engine { engine, version: None, .. } => format!("BuildKit of Docker Engine {engine}"),
            Self::Remote { version: Some(version), .. } => format!("remote BuildKit {version}"),
            Self::Remote { version: None, .. } => "remote BuildKit".to_owned(),
        }
    }
}

/// First engine version whose BuildKit supports here-documents, and the flags introduced with them, without an external frontend.
const FIRST_CURRENT_ENGINE: u32 = 23;

/// Reports whether the engine version `version` (`20.10.24`) is older than `major`. An unreadable version counts as current: BuildKit then rejects
/// unknown syntax with its own message.
fn is_older(version: &str, major: u32) -> bool {
    version.split('.').next().and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number < major)
}

/// Reports whether `image` is `allowed` in any version, or lies below `allowed` if that ends with a slash. The Docker Hub host name is optional.
fn is_below(image: &str, allowed: &str) -> bool {
    let plain = |name: &str| name.strip_prefix("docker.io/").unwrap_or(name).to_owned();
    let (image, allowed) = (plain(image), plain(allowed));
    match image.strip_prefix(allowed.as_str()) {
        Some(rest) => allowed.ends_with('/') || rest.is_empty() || rest.starts_with([':', '@']),
        None => false,
    }
}

async fn open(build: &BuildJob<'_>) -> Result<BuildContext, BuildError> {
    let [root, context, dockerfile] = [build.root, build.context, build.dockerfile].map(Path::to_owned);
    let context = spawn_blocking(move || BuildContext::open(&root, &context, &dockerfile, Descent::BuildKit)).await;
    Ok(context.map_err(|error| ClientError::new(ErrorKind::Unavailable, "build context", error))??)
}

async fn classic(docker: &Docker, build: BuildJob<'_>, progress: mpsc::Sender<Progress>) -> Result<(), BuildError> {
    let request = BuildRequest {
        source: build.root,
        context: build.context,
        dockerfile: build.dockerfile,
        committed_at: build.committed_at,
        tag: build.image,
        labels: &build.labels,
        options: build.options,
        own_args: &build.own_args,
        credentials: &build.credentials,
        network: build.network,
        limits: build.limits.clone(),
    };
    docker.build(request, progress).await.map(drop)
}
