//! The environment of a running Panda: the sandbox's AWS and GitHub, a real registry, the engine, a database.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use panda_dev_services::{Engine, Registry, RegistryOptions};
use panda_sandbox::git::SourceFile;
use panda_sandbox::github::GitHub;
use panda_sandbox::{RegistryAddress, Sandbox, SandboxOptions, Scenario, Timing};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use crate::postgres::TestDb;
use crate::{KEY_FILE, Program, root};

/// The owner of all test repositories.
pub const OWNER: &str = "acme";
/// The token for them at the sandbox's GitHub.
pub const TOKEN: &str = "ghp_test_0123456789";

/// A cron expression that no test reaches: once a year.
const NEW_YEAR: &str = "0 0 1 1 *";

/// The environment; dropping it ends everything in it.
pub struct Environment<P: Program> {
    pub db: Arc<TestDb<P>>,
    pub sandbox: Arc<Sandbox>,
    pub github: Arc<GitHub>,
    /// The engine that builds and runs.
    pub engine: Arc<Engine>,
    /// The registry that images are pushed to.
    pub registry: Arc<Registry>,
    /// The repository of this test: a separate one, because all tests share one engine.
    pub repo: String,
    dir: Arc<TempDir>,
}

impl<P: Program> Environment<P> {
    /// An environment whose GitHub has `acme/{repo}` with the hello example on `main`.
    pub async fn start() -> Self {
        Self::with_files(hello("1.0.0")).await
    }

    /// An environment whose repository holds `files`.
    pub async fn with_files(files: Vec<SourceFile>) -> Self {
        Self::reporting_to(files, None).await
    }

    /// The same, with a registry that reports pushes to `elsewhere` instead of the sandbox.
    pub async fn reporting_to(files: Vec<SourceFile>, elsewhere: Option<Url>) -> Self {
        Self::in_scenario(files, elsewhere, &Scenario::default()).await
    }

    /// The same in a scenario.
    pub async fn in_scenario(files: Vec<SourceFile>, elsewhere: Option<Url>, scenario: &Scenario) -> Self {
        let dir = panda_dev_services::temporary_folder().unwrap();
        let engine = Engine::find_or_start(&dir.path().join("docker")).await.unwrap();
        engine.ensure_base_image("busybox:1").await.unwrap();
        let options = SandboxOptions {
            keys: None,
            docker: engine.docker().clone(),
            registry: None,
            initial_image: None,
            timing: Timing::default(),
            listen: loopback(),
        };
        let sandbox = Sandbox::start_with(options, scenario).await.unwrap();
        let registry = Registry::start(RegistryOptions {
            dir: dir.path().join("registry"),
            notification_url: elsewhere.unwrap_or_else(|| sandbox.notification_url().clone()),
            engine: Some(&engine),
        })
        .await
        .unwrap();
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let github = GitHub::start(listener, &dir.path().join("git")).await.unwrap();
        let repo = add_repository(&github, files).await;
        let env = Self {
            db: Arc::new(TestDb::new().await),
            sandbox: Arc::new(sandbox),
            github: Arc::new(github),
            engine: Arc::new(engine),
            registry: Arc::new(registry),
            repo,
            dir: Arc::new(dir),
        };
        env.sandbox.set_registry(env.registry_address());
        env
    }

    /// The same AWS, GitHub, engine and registry with a separate database and repository.
    pub async fn neighbour(&self, files: Vec<SourceFile>) -> Self {
        Self { db: Arc::new(TestDb::new().await), ..self.another_repository(files).await }
    }

    /// The same environment with another database.
    pub fn with_database(self, db: impl Into<Arc<TestDb<P>>>) -> Self {
        Self { db: db.into(), ..self }
    }

    /// The same environment, database included, with another repository.
    pub async fn another_repository(&self, files: Vec<SourceFile>) -> Self {
        Self { repo: add_repository(&self.github, files).await, ..self.same() }
    }

    /// A second handle to this environment, repository included.
    pub fn same(&self) -> Self {
        Self {
            db: Arc::clone(&self.db),
            sandbox: Arc::clone(&self.sandbox),
            github: Arc::clone(&self.github),
            engine: Arc::clone(&self.engine),
            registry: Arc::clone(&self.registry),
            repo: self.repo.clone(),
            dir: Arc::clone(&self.dir),
        }
    }

    /// Address and login of the registry.
    pub fn registry_address(&self) -> RegistryAddress {
        RegistryAddress {
            host_port: self.registry.host_port(),
            username: self.registry.username().to_owned(),
            password: self.registry.password().clone(),
        }
    }

    /// Name of the ECR repository of this test.
    pub fn ecr_repository(&self) -> String {
        format!("{OWNER}-{}", self.repo)
    }

    /// The flags of `panda serve` for this environment, with short intervals; `more` are further ones.
    pub fn flags(&self, more: &[&str]) -> Vec<String> {
        let defaults = BTreeMap::from([
            ("--database-url", self.db.url().to_owned()),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--key-file", KEY_FILE.to_owned()),
            ("--aws-endpoint", self.sandbox.endpoint().to_string()),
            ("--controller-region", self.sandbox.region().to_owned()),
            ("--event-bus", "panda".to_owned()),
            ("--rule-target-role-arn", self.sandbox.events_role()),
            ("--github-api", self.github.api_url()),
            ("--github-url", self.github.git_url()),
            ("--docker-host", self.engine.host().to_owned()),
            ("--health-allow", "127.0.0.0/8,::1".to_owned()),
            // A test's own executable cannot run `fetch-source`.
            ("--source-program", P::path().display().to_string()),
            ("--workspace-dir", self.dir.path().join("workspaces").display().to_string()),
            ("--poll-interval-ms", "100".to_owned()),
            ("--health-interval-ms", "50".to_owned()),
            ("--lease-ms", "3000".to_owned()),
            // Prevents scheduled maintenance during a test.
            ("--retention-build-lines-cron", NEW_YEAR.to_owned()),
            ("--retention-events-cron", NEW_YEAR.to_owned()),
            ("--retention-deployments-cron", NEW_YEAR.to_owned()),
            ("--retention-workspaces-cron", NEW_YEAR.to_owned()),
            ("--retention-images-cron", NEW_YEAR.to_owned()),
            ("--retention-runs-cron", NEW_YEAR.to_owned()),
        ]);
        let mut args = Vec::new();
        for (flag, value) in defaults {
            if !more.iter().any(|arg| arg.starts_with(&format!("{flag}="))) {
                args.push(format!("{flag}={value}"));
            }
        }
        if let Some(mode) = self.engine.network_mode() {
            args.push(format!("--build-network={mode}"));
        }
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args
    }

    /// Folder of the workspaces.
    pub fn workspaces(&self) -> std::path::PathBuf {
        self.dir.path().join("workspaces")
    }
}

/// The hello example in `version`.
pub fn hello(version: &str) -> Vec<SourceFile> {
    let mut files = SourceFile::folder(&root().join("examples/hello")).unwrap();
    files.retain(|file| file.path != "VERSION");
    files.push(SourceFile::new("VERSION", format!("{version}\n")));
    files
}

/// A small image that serves a page and builds immediately.
pub fn tiny() -> Vec<SourceFile> {
    let dockerfile = "FROM busybox:1\nCOPY index.html /www/\nCMD exec httpd -f -p \"$PORT\" -h /www\n";
    vec![SourceFile::new("Dockerfile", dockerfile), SourceFile::new("index.html", "hello\n")]
}

/// Creates a repository of [`OWNER`] with `files` on `main` and returns its name.
async fn add_repository(github: &GitHub, files: Vec<SourceFile>) -> String {
    let repo = format!("shop-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let token = Some(SecretString::from(TOKEN));
    github.repositories().add_repository(OWNER, &repo, token, "main", files).await.unwrap();
    repo
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
