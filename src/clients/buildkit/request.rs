//! Builds BuildKit's solve request: options of the Dockerfile frontend, output, and cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, SolveRequest};
use chrono::{DateTime, Utc};

use super::MountedSecrets;
use super::files::{DOCKERFILE, Files};
use super::session::SessionServices;
use crate::clients::build_context::BuildContext;
use crate::clients::registry_credentials::Credentials;
use crate::domain::build_spec::BuildOptions;

/// Parameters of one BuildKit build.
#[derive(Clone, Debug)]
pub struct Solve {
    /// Build context with the Dockerfile.
    pub context: Arc<BuildContext>,
    /// Target, build arguments and platform, as requested by the user.
    pub options: BuildOptions,
    /// Image of the allowed frontend that the Dockerfile names; `None` for the daemon's own frontend.
    pub frontend: Option<String>,
    /// Build arguments that Panda adds; `options` takes precedence.
    pub own_args: BTreeMap<String, String>,
    /// Labels to set on the image.
    pub labels: BTreeMap<String, String>,
    /// Date of the commit, used as the image's creation time.
    pub committed_at: Option<DateTime<Utc>>,
    /// Destination of the image.
    pub output: Output,
    /// Repository for cached layers; `None` to build without a registry cache.
    pub cache: Option<Cache>,
    /// Namespace that separates this trust domain's cache from all others: a name that cannot be guessed outside of Panda.
    pub cache_domain: String,
    /// Registry logins for base images, cache and push.
    pub credentials: Credentials,
    /// Build secrets by name.
    pub secrets: MountedSecrets,
    /// Network mode of RUN steps: `none` or `host`; `None` for the builder's default.
    pub network: Option<String>,
    /// Ulimits for the processes of each RUN step, such as `nofile=1024:2048`.
    pub ulimits: Vec<String>,
    /// Parent control group of RUN steps, with the limits that the operator configured for it.
    pub cgroup_parent: Option<String>,
    /// Maximum number of output bytes that are passed on.
    pub output_bytes: usize,
}

/// Destination of a built image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The engine's local store, as `name:tag`.
    Engine(String),
    /// The image's registry, as `repository:tag`.
    Push(String),
}

/// A repository for layers that only this trust domain reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Image reference as `repository:tag`.
    pub reference: String,
}

impl Solve {
    /// Returns the request of the build `reference`, and the services for its session.
    pub(super) fn into_request(self, session: &str, reference: &str) -> (SolveRequest, SessionServices) {
        let frontend_attrs = self.frontend_attrs();
        let (exporter, exporter_attrs) = match &self.output {
            Output::Engine(name) => ("moby", HashMap::from([("name".to_owned(), name.clone())])),
            Output::Push(name) => {
                let attrs = [("name", name.as_str()), ("push", "true"), ("oci-mediatypes", "true")];
                ("image", attrs.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
            }
        };
        let request = SolveRequest {
            r#ref: reference.to_owned(),
            session: session.to_owned(),
            frontend: "dockerfile.v0".to_owned(),
            frontend_attrs,
            // The only form of these options that all versions of BuildKit support.
            exporter_deprecated: exporter.to_owned(),
            exporter_attrs_deprecated: exporter_attrs,
            cache: self.cache.as_ref().map(Cache::options),
            // Only what the operator configured for all builds; a Dockerfile cannot request more.
            entitlements: if self.network.as_deref() == Some("host") {
                vec!["network.host".to_owned()]
            } else {
                vec![]
            },
            // Otherwise the daemon would keep the build's arguments and log for any client that asks.
            internal: true,
            ..SolveRequest::default()
        };
        let modified_nanos = self.committed_at.and_then(|at| at.timestamp_nanos_opt()).unwrap_or_default();
        let files = Files::new(self.context, modified_nanos);
        (request, SessionServices { files, credentials: self.credentials, secrets: self.secrets })
    }

    fn frontend_attrs(&self) -> HashMap<String, String> {
        let mut attrs = HashMap::new();
        let mut set = |name: String, value: &str| attrs.insert(name, value.to_owned());
        for (name, value) in self.own_args.iter().chain(&self.options.args) {
            set(format!("build-arg:{name}"), value);
        }
        for (name, value) in &self.labels {
            set(format!("label:{name}"), value);
        }
        if let Some(committed_at) = self.committed_at {
            set("build-arg:SOURCE_DATE_EPOCH".to_owned(), &committed_at.timestamp().max(0).to_string());
        }
        match &self.frontend {
            Some(image) => set("build-arg:BUILDKIT_SYNTAX".to_owned(), image),
            // Setting this option, even empty, keeps the daemon from looking up a frontend in the Dockerfile, which it would recognise in more forms
            // than Panda does.
            None => set("cmdline".to_owned(), ""),
        };
        set("filename".to_owned(), DOCKERFILE);
        // A base image must come from its registry: an image that only the builder knows by that name may be another tenant's.
        set("image-resolve-mode".to_owned(), "pull");
        // Both are part of a RUN step's cache key: neither cache mounts nor layers are shared with other domains.
        set("build-arg:BUILDKIT_CACHE_MOUNT_NS".to_owned(), &self.cache_domain);
        set("hostname".to_owned(), &self.cache_domain);
        for (name, value) in [
            ("target", &self.options.target),
            ("platform", &self.options.platform),
            ("force-network-mode", &self.network),
            ("cgroup-parent", &self.cgroup_parent),
        ] {
            if let Some(value) = value {
                set(name.to_owned(), value);
            }
        }
        if !self.ulimits.is_empty() {
            set("ulimit".to_owned(), &self.ulimits.join(","));
        }
        attrs
    }
}

impl Cache {
    fn options(&self) -> CacheOptions {
        let entry = |attrs: &[(&str, &str)]| CacheOptionsEntry {
            r#type: "registry".to_owned(),
            attrs: attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let reference = ("ref", self.reference.as_str());
        CacheOptions {
            imports: vec![entry(&[reference])],
            exports: vec![entry(&[
                reference,
                ("mode", "max"),
                // ECR accepts a cache as an image manifest only.
                ("image-manifest", "true"),
                ("oci-mediatypes", "true"),
                // A cache that cannot be written costs time, but must not fail the build.
                ("ignore-error", "true"),
            ])],
            ..CacheOptions::default()
        }
    }
}
