//! The image of the Dockerfile, run as the chart runs it. It contains the program of this build; nothing is compiled in the engine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bollard::query_parameters::{LogsOptionsBuilder, StopContainerOptionsBuilder};
use futures_util::TryStreamExt as _;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::clients::docker_tls::tls_proxy;
use crate::reconcile::{deploy, status};
use crate::support::authority::Authority;
use crate::support::commands::Commands as _;
pub(crate) use crate::support::container::{Contained, Given, build, forget};
use crate::support::db::KEY_FILE;
use crate::support::environment::Environment;
use crate::support::process::free_address;
use crate::support::wait_for;

/// The memory that the chart requests, and that has to suffice for a deployment.
const MEMORY: i64 = 128 << 20;

impl Contained {
    pub(crate) async fn runs(&self) -> bool {
        let state = self.docker.inspect_container(&self.id, None).await.unwrap().state.unwrap();
        state.running == Some(true)
    }

    /// Waits for its end and returns the exit code.
    pub(crate) async fn end(&self) -> i64 {
        wait_for("the container ends", async || !self.runs().await).await;
        self.docker.inspect_container(&self.id, None).await.unwrap().state.unwrap().exit_code.unwrap()
    }

    /// Waits until `url` answers with success; panics with the log when the container ends instead.
    pub(crate) async fn answers(&self, url: &str) {
        let what = format!("{url} answers, or the container has ended");
        let answered = wait_for(&what, async || {
            if !self.runs().await {
                return Some(false);
            }
            reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()).then_some(true)
        });
        assert!(answered.await, "{}", self.log().await);
    }

    pub(crate) async fn log(&self) -> String {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let lines: Vec<_> = self.docker.logs(&self.id, Some(options)).try_collect().await.unwrap();
        lines.iter().map(ToString::to_string).collect()
    }

    /// Stops it as Kubernetes does; returns the exit code, and whether it ran out of memory.
    pub(crate) async fn stop(&self) -> (Option<i64>, Option<bool>) {
        self.docker.stop_container(&self.id, Some(StopContainerOptionsBuilder::default().t(20).build())).await.unwrap();
        let state = self.docker.inspect_container(&self.id, None).await.unwrap().state.unwrap();
        (state.exit_code, state.oom_killed)
    }
}

/// A folder that user 65532 may read, or also write.
fn open(folder: &Path, mode: u32) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::set_permissions(entry.unwrap().path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image__deploys_unprivileged_with_engine_over_tls() {
    let env = Environment::start().await;
    let docker = env.engine.docker();
    let image = build(&env.engine).await;
    let config = docker.inspect_image(&image).await.unwrap().config.unwrap();
    assert_eq!(config.user.as_deref(), Some("65532:65532"));
    assert_eq!(config.labels.unwrap()["org.opencontainers.image.version"], "9.9.9");

    let authority = Authority::new();
    let (certs, keys, workspaces) = (authority.folder(&authority), TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::copy(KEY_FILE, keys.path().join("keys")).unwrap();
    open(certs.path(), 0o755);
    open(keys.path(), 0o755);
    open(workspaces.path(), 0o777);
    let (listen, host) = (free_address(), tls_proxy(&authority).await);
    let mut flags = env.flags(&[
        &format!("--listen={listen}"),
        &format!("--docker-host={host}"),
        "--docker-cert-path=/etc/panda/engine",
        "--key-file=/etc/panda/keys/keys",
        "--workspace-dir=/workspaces/panda",
        "--no-auth",
    ]);
    // The program in the container runs its own fetch child.
    flags.retain(|flag| !flag.starts_with("--source-program"));
    let controller = env.sandbox.controller_credentials();
    let variables = vec![
        format!("AWS_ACCESS_KEY_ID={}", controller.access_key_id),
        format!("AWS_SECRET_ACCESS_KEY={}", controller.secret_access_key.expose_secret()),
    ];
    let binds = vec![
        format!("{}:/etc/panda/engine:ro", certs.path().display()),
        format!("{}:/etc/panda/keys:ro", keys.path().display()),
        format!("{}:/workspaces", workspaces.path().display()),
    ];
    let args = [vec!["serve".to_owned()], flags].concat();
    let given = Given { args, env: variables, binds, memory: MEMORY, ..Given::default() };
    let contained = Contained::start(docker, &image, given).await;
    contained.answers(&format!("http://{listen}/readyz")).await;

    let id = deploy(&env, "main").await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    env.db.db.request_switch(&id).await.unwrap();
    env.db.db.notify_work(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;

    assert_eq!(contained.stop().await, (Some(0), Some(false)), "{}", contained.log().await);
    contained.remove().await;
    forget(&env.engine, &image).await;
}
