//! What a build asks of BuildKit: the options of its Dockerfile front end, the output, the cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, SolveRequest};
use chrono::{DateTime, Utc};

use super::files::{DOCKERFILE, Files};
use super::session::Services;
use super::{Credentials, Secrets};
use crate::clients::docker::Context;
use crate::domain::build_spec::BuildOptions;

/// One build.
#[derive(Clone, Debug)]
pub struct Solve {
    /// The files.
    pub context: Arc<Context>,
    /// Target, arguments, platform.
    pub options: BuildOptions,
    /// Image of the frontend that the Dockerfile names and that is allowed; none: the daemon's own.
    pub frontend: Option<String>,
    /// Arguments that Panda adds; those of `options` win.
    pub own_args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// When the commit was made, as the image's own time.
    pub committed_at: Option<DateTime<Utc>>,
    /// Where the image goes.
    pub output: Output,
    /// Layers of earlier builds.
    pub cache: Option<Cache>,
    /// What separates this trust domain's cache from all others': a name that nobody outside of Panda can guess.
    pub cache_domain: String,
    /// Logins of registries.
    pub credentials: Credentials,
    /// Build secrets by name.
    pub secrets: Secrets,
    /// Network of the RUN steps: `none`, `host`, or the builder's own when absent.
    pub network: Option<String>,
    /// Limits such as `nofile=1024:2048` of each RUN step's processes.
    pub ulimits: Vec<String>,
    /// Control group below which RUN steps run, with the limits that the operator gave it.
    pub cgroup_parent: Option<String>,
    /// The most bytes of output that are passed on.
    pub output_bytes: usize,
}

/// Where the image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the engine's own images, as `name:tag`.
    Engine(String),
    /// To its registry, as `repository:tag`.
    Push(String),
}

/// A repository for layers that only this trust domain reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// `repository:tag`.
    pub reference: String,
}

impl Solve {
    /// The request of build `reference`, and what its session serves.
    pub(super) fn into_request(self, session: &str, reference: &str) -> (SolveRequest, Services) {
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
            // The only form of these that all versions of BuildKit read.
            exporter_deprecated: exporter.to_owned(),
            exporter_attrs_deprecated: exporter_attrs,
            cache: self.cache.as_ref().map(Cache::options),
            // Only what the operator chose for all builds; a Dockerfile cannot ask for more.
            entitlements: if self.network.as_deref() == Some("host") {
                vec!["network.host".to_owned()]
            } else {
                vec![]
            },
            // Else the daemon keeps the build's arguments and log for any client that asks.
            internal: true,
            ..SolveRequest::default()
        };
        let modified_nanos = self.committed_at.and_then(|at| at.timestamp_nanos_opt()).unwrap_or_default();
        let files = Files::new(self.context, modified_nanos);
        (request, Services { files, credentials: self.credentials, secrets: self.secrets })
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
            // Given at all, it keeps the daemon from looking for a frontend in the Dockerfile, which it would find in more forms than we.
            None => set("cmdline".to_owned(), ""),
        };
        set("filename".to_owned(), DOCKERFILE);
        // A base image is what its registry says: a name that is only known to the builder may be another tenant's.
        set("image-resolve-mode".to_owned(), "pull");
        // Both are part of a RUN step's cache key: neither cache mounts nor layers are shared with another domain.
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
                // ECR takes a cache as an image manifest only.
                ("image-manifest", "true"),
                ("oci-mediatypes", "true"),
                // A cache that cannot be written costs time, not the build.
                ("ignore-error", "true"),
            ])],
            ..CacheOptions::default()
        }
    }
}
