//! Options of image builds: builder, its address, its limits.

use std::path::PathBuf;

use clap::Args;

use super::values::ulimit;
use crate::domain::builder::{BuilderChoice, address};

/// Options of image builds.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Builds")]
pub struct BuildConfig {
    /// Builder of images: auto (BuildKit if the engine provides it, else classic), buildkit or classic
    #[arg(long, env = "PANDA_BUILDER", value_name = "BUILDER", default_value = "auto")]
    pub builder: BuilderChoice,
    /// Remote buildkitd that builds and pushes, as unix:///path or tcp://host:port; by default the Docker engine's own BuildKit
    #[arg(long, env = "PANDA_BUILDKIT", value_name = "ADDRESS", value_parser = address)]
    pub buildkit: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem for mutual TLS with PANDA_BUILDKIT
    #[arg(long, env = "PANDA_BUILDKIT_CERT_PATH", value_name = "FOLDER", requires = "buildkit")]
    pub buildkit_cert_path: Option<PathBuf>,
    /// File with builders of owners or repositories, one table "builder" for each: name, kind (buildkit or docker), endpoint, cert_path, scopes, permits
    #[arg(long, env = "PANDA_BUILDERS", value_name = "FILE", conflicts_with = "buildkit")]
    pub builders: Option<PathBuf>,
    /// Keep layers of remote builds in ECR, one repository {name}-cache beside each repository
    #[arg(long, env = "PANDA_BUILD_CACHE", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub build_cache: bool,
    /// File with registry logins for base images, in the format of Docker's config.json; `scopes` limits an entry to owners or repositories
    #[arg(long, env = "PANDA_REGISTRY_AUTH_FILE", value_name = "FILE")]
    pub registry_auth_file: Option<PathBuf>,
    /// Images that # syntax= may name in addition to docker/dockerfile; a trailing slash allows all images below
    #[arg(long, env = "PANDA_BUILD_FRONTENDS", value_name = "IMAGE,…", value_delimiter = ',')]
    pub build_frontends: Vec<String>,
    /// Process limits (ulimits) of each RUN step, such as nofile=1024:2048
    #[arg(long, env = "PANDA_BUILD_ULIMITS", value_name = "NAME=SOFT[:HARD],…", value_delimiter = ',', value_parser = ulimit)]
    pub build_ulimits: Vec<String>,
    /// Parent control group of RUN steps on the builder's machine; its limits on memory, CPU and processes apply to BuildKit
    #[arg(long, env = "PANDA_BUILD_CGROUP_PARENT", value_name = "GROUP")]
    pub build_cgroup_parent: Option<String>,
}
