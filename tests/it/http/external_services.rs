//! The external services that connecting calls: the sandbox's GitHub and STS.

use bollard::{API_DEFAULT_VERSION, Docker};
use panda_sandbox::git::SourceFile;
use panda_sandbox::github::GitHub;
use panda_sandbox::{Sandbox, SandboxOptions, Timing};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{ExternalServices, UNREACHABLE};
use crate::support::environment::keys;

/// The token of `acme/shop`.
pub const TOKEN: &str = "ghp_right";

/// GitHub with the private repository `acme/shop`, and the folder that stores it.
pub async fn github() -> (GitHub, TempDir) {
    let root = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let github = GitHub::start(listener, root.path()).await.unwrap();
    let files = vec![SourceFile::new("Dockerfile", "FROM scratch\n")];
    github.repositories().add_repository("acme", "shop", Some(TOKEN.into()), "main", files).await.unwrap();
    (github, root)
}

/// AWS, for STS alone.
pub async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxOptions {
        keys: None,
        // STS needs no engine; this one receives no calls.
        docker: Docker::connect_with_http(UNREACHABLE, 1, API_DEFAULT_VERSION).unwrap(),
        registry: None,
        initial_image: None,
        timing: Timing::default(),
        listen: "127.0.0.1:0".parse().unwrap(),
    })
    .await
    .unwrap()
}

impl ExternalServices {
    pub fn with_github(mut self, github: &GitHub) -> Self {
        self.github_api = github.api_url();
        self.github_url = github.git_url();
        self
    }

    /// With an address of the page that is another site than the sandbox's GitHub.
    pub fn with_public_url(mut self) -> Self {
        self.public_url = Some("http://localhost:{port}/");
        self
    }

    pub fn with_aws(mut self, sandbox: &Sandbox) -> Self {
        self.aws_endpoint = sandbox.endpoint().to_string();
        self.controller = keys(sandbox.controller_credentials());
        self
    }
}
