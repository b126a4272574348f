//! The builder: a Docker engine's BuildKit, a `buildkitd` of its own, or a Docker engine's classic builder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::build::{BuildError, Progress};
use super::buildkit::{Address, BuildKit, Cache, Credentials, Daemon, Output, Secrets, Solve};
use super::docker::{BuildLimits, BuildRequest, Context, Descent, Docker};
use super::{ClientError, ErrorKind};
use crate::domain::dockerfile::{Dockerfile, Need};
use crate::domain::{build_spec::BuildOptions, builder::BuilderChoice};
use crate::metrics::BuildMetrics;

/// The frontend of Docker itself.
const FRONTEND: &str = "docker/dockerfile";

/// A builder, by its address.
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

/// What a builder turned out to be.
#[derive(Clone, Debug)]
pub enum Active {
    /// The engine's classic builder.
    Classic {
        /// The engine's version.
        engine: String,
    },
    /// The engine's BuildKit.
    Engine {
        /// The engine's version.
        engine: String,
        /// BuildKit's version, as far as it reports one.
        version: Option<String>,
        /// Its client.
        buildkit: BuildKit,
    },
    /// A `buildkitd`, which pushes by itself.
    Remote {
        /// BuildKit's version, as far as it reports one.
        version: Option<String>,
        /// Its client.
        buildkit: BuildKit,
    },
}

/// One build, for any builder.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// The checked-out repository.
    pub root: &'a Path,
    /// The context folder, relative to `root`; empty: `root` itself.
    pub context: &'a Path,
    /// The Dockerfile, relative to `root`.
    pub dockerfile: &'a Path,
    /// The image's name, `repository:tag`: in the engine, or in the registry that a remote builder pushes to.
    pub image: &'a str,
    /// Target, arguments, platform.
    pub options: &'a BuildOptions,
    /// Arguments that Panda adds; those of `options` win.
    pub own_args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// When the commit was made.
    pub committed_at: Option<DateTime<Utc>>,
    /// The trust domain's name for caches.
    pub cache_domain: String,
    /// Repository of layers, `repository:tag`, for a remote builder.
    pub cache: Option<String>,
    /// Logins of registries.
    pub credentials: Credentials,
    /// Build secrets by name.
    pub secrets: Secrets,
    /// Network of the RUN steps.
    pub network: Option<&'a str>,
    /// What a build may use.
    pub limits: &'a BuildLimits,
}

impl Builder {
    /// A builder called `name`: the engine `docker`, or `remote` where there is one.
    pub fn new(
        name: &str,
        docker: Docker,
        remote: Option<Address>,
        choice: BuilderChoice,
        metrics: BuildMetrics,
    ) -> Self {
        let remote = remote.map(|address| BuildKit::new(Daemon::BuildKit, address, metrics.clone()));
        let frontends = [FRONTEND.to_owned()].into();
        Self { name: name.into(), docker, remote, choice, metrics, secret: Arc::default(), frontends }
    }

    /// Allows frontends beside `docker/dockerfile`: images by name, or all below a name that ends with a slash.
    #[must_use]
    pub fn with_frontends(self, allowed: &[String]) -> Self {
        let own = [FRONTEND.to_owned()];
        Self { frontends: own.iter().chain(allowed).cloned().collect(), ..self }
    }

    /// Sets what the names of trust domains are derived from, once; replicas that share a builder share it. One of this process alone
    /// until then.
    pub fn set_secret(&self, secret: SecretString) {
        let _ = self.secret.set(secret);
    }

    /// Its name: `default`, or that of the operator's file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it pushes what it builds, so that no engine keeps an image.
    pub fn pushes(&self) -> bool {
        self.remote.is_some()
    }

    /// The engine that keeps built images.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The name of a trust domain's caches: the same for each build of `owner`, and not to be guessed by another.
    pub fn cache_domain(&self, owner: &str) -> String {
        let secret = self.secret.get_or_init(|| SecretString::from(uuid::Uuid::new_v4().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let tag = hmac::sign(&key, owner.to_lowercase().as_bytes());
        // Also a host name, which has at most 63 characters.
        format!("panda-{}", hex::encode(&tag.as_ref()[..24]))
    }

    /// Finds out what builds, and shows it in the metrics. Asked before each build: an engine may have been replaced.
    pub async fn active(&self) -> Result<Active, ClientError> {
        let active = self.find().await?;
        self.metrics.set_builder(&self.name, active.kind(), active.describe(), active.enforced_limits());
        Ok(active)
    }

    /// Builds, and counts a failure by its fault. Returns the pushed digest where the builder pushes by itself.
    pub async fn build(
        &self,
        active: &Active,
        build: Build<'_>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Option<String>, BuildError> {
        // Boxed: with its connection, a build is the largest future there is.
        let outcome = Box::pin(self.run(active, build, progress)).await;
        if let Err(BuildError::Failed { fault, .. }) = &outcome {
            self.metrics.fault(*fault);
        }
        outcome
    }

    async fn run(
        &self,
        active: &Active,
        build: Build<'_>,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Option<String>, BuildError> {
        let (buildkit, output) = match active {
            Active::Classic { .. } => return classic(&self.docker, build, progress).await.map(|()| None),
            Active::Engine { buildkit, .. } => (buildkit, Output::Engine(build.image.to_owned())),
            Active::Remote { buildkit, .. } => (buildkit, Output::Push(build.image.to_owned())),
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

    /// The frontend that the Dockerfile names, if it is allowed; none: the daemon's own, which has to know the Dockerfile's language.
    fn frontend(&self, active: &Active, context: &Context) -> Result<Option<String>, BuildError> {
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
            Active::Engine { engine, .. } if is_older(engine, FIRST_CURRENT_ENGINE) => {
                dockerfile.needs_newer_buildkit()
            }
            _ => Vec::new(),
        };
        if needs.is_empty() { Ok(None) } else { Err(BuildError::Unsupported(needs)) }
    }

    async fn find(&self) -> Result<Active, ClientError> {
        if let Some(buildkit) = &self.remote {
            return Ok(Active::Remote { version: buildkit.version().await?, buildkit: buildkit.clone() });
        }
        let engine = self.docker.version().await?;
        if self.choice == BuilderChoice::Classic {
            return Ok(Active::Classic { engine });
        }
        let buildkit = BuildKit::new(Daemon::Engine, self.docker.address(), self.metrics.clone());
        match (buildkit.version().await, self.choice) {
            (Ok(version), _) => Ok(Active::Engine { engine, version, buildkit }),
            // The engine answered that it has none. One that did not answer is asked again later, not replaced by the other builder.
            (Err(error), BuilderChoice::Auto) if error.kind == ErrorKind::NotFound => Ok(Active::Classic { engine }),
            (Err(error), _) => Err(error),
        }
    }
}

impl Active {
    /// Whether it pushes what it builds, so that no engine keeps the image.
    pub fn pushes(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// Which kind it is: `classic`, `buildkit` or `remote`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Classic { .. } => "classic",
            Self::Engine { .. } => "buildkit",
            Self::Remote { .. } => "remote",
        }
    }

    /// Which of the configured limits it enforces on RUN steps. BuildKit ignores memory and CPU limits of a build; they are the
    /// builder's own, or those of the control group that it is given.
    pub fn enforced_limits(&self) -> &'static str {
        match self {
            Self::Classic { .. } => "memory, cpus, ulimits",
            Self::Engine { .. } | Self::Remote { .. } => "ulimits, cgroup parent",
        }
    }

    /// Name and version, for people.
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

/// The first engine whose BuildKit reads here-documents and the flags that came with them by itself.
const FIRST_CURRENT_ENGINE: u32 = 23;

/// Whether the engine version `version` (`20.10.24`) is older than `major`. One that cannot be read is taken for a current one: BuildKit refuses
/// what it does not know in words of its own.
fn is_older(version: &str, major: u32) -> bool {
    version.split('.').next().and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number < major)
}

/// Whether the image `image` is `allowed` in some version, or lies below it where `allowed` ends with a slash. Docker Hub may be named or not.
fn is_below(image: &str, allowed: &str) -> bool {
    let plain = |name: &str| name.strip_prefix("docker.io/").unwrap_or(name).to_owned();
    let (image, allowed) = (plain(image), plain(allowed));
    match image.strip_prefix(allowed.as_str()) {
        Some(rest) => allowed.ends_with('/') || rest.is_empty() || rest.starts_with([':', '@']),
        None => false,
    }
}

async fn open(build: &Build<'_>) -> Result<Context, BuildError> {
    let [root, context, dockerfile] = [build.root, build.context, build.dockerfile].map(Path::to_owned);
    let opened = spawn_blocking(move || Context::open(&root, &context, &dockerfile, Descent::BuildKit)).await;
    Ok(opened.map_err(|error| ClientError::new(ErrorKind::Unavailable, "build context", error))??)
}

async fn classic(docker: &Docker, build: Build<'_>, progress: mpsc::Sender<Progress>) -> Result<(), BuildError> {
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
