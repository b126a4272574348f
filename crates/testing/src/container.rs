//! The image of the Dockerfile and its containers: for tests, and for the bench of pods.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use panda_dev_services::Engine;
use uuid::Uuid;

use crate::{root, wait_for};

/// The build context: the Dockerfile, and the files that `scripts/image-root.sh` makes of this build's program.
fn context(program: &Path) -> Vec<u8> {
    let root = root();
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("image-root");
    let script = Command::new(root.join("scripts/image-root.sh")).arg(program).arg(&made).output().unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    std::fs::copy(root.join("Dockerfile"), folder.path().join("Dockerfile")).unwrap();
    // The stage that compiles copies it; a prebuilt program needs none of it.
    std::fs::create_dir(folder.path().join("assets")).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder.path()).unwrap();
    archive.into_inner().unwrap()
}

/// Builds the image from scratch, with a build stage that has a shell and no compiler.
///
/// Its layers are made again each time: tests share the engine, and removing an image removes layers that a
/// build at the same time had taken from the cache.
pub async fn build(engine: &Engine, program: &Path) -> String {
    let image = format!("panda-test-image-{}:1", Uuid::new_v4().simple());
    let args = [("RUST", "busybox:1"), ("BASE", "scratch"), ("PREBUILT", "1"), ("VERSION", "9.9.9")];
    let options = BuildImageOptionsBuilder::default()
        .t(&image)
        .buildargs(&HashMap::from(args))
        .networkmode(engine.network_mode().unwrap_or("default"))
        .nocache(true)
        .rm(true)
        .forcerm(true)
        .build();
    let body = bollard::body_full(context(program).into());
    let said: Vec<_> = engine.docker().build_image(options, None, Some(body)).try_collect().await.unwrap();
    let failed: Vec<_> = said.iter().filter_map(|line| line.error_detail.as_ref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    image
}

/// An unprivileged container, as Kubernetes runs it under the restricted standard.
pub struct Contained {
    pub docker: Docker,
    pub id: String,
}

/// Options of a container.
#[derive(Default)]
pub struct Given {
    pub args: Vec<String>,
    /// Entries of the form `NAME=value`.
    pub env: Vec<String>,
    /// Entries of the form `outside:inside[:ro]`.
    pub binds: Vec<String>,
    /// `user:group`; the image's own when absent.
    pub user: Option<String>,
    /// `name:address`, in addition to the resolver's names.
    pub hosts: Vec<String>,
    /// Memory limit of the container, in bytes.
    pub memory: i64,
}

impl Contained {
    pub async fn start(docker: &Docker, image: &str, given: Given) -> Self {
        let made = Self::make(docker, image, given).await;
        made.go().await;
        made
    }

    /// Creates the container without starting it.
    pub async fn make(docker: &Docker, image: &str, given: Given) -> Self {
        let config = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(given.args),
            env: Some(given.env),
            user: given.user,
            host_config: Some(HostConfig {
                network_mode: Some("host".to_owned()),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                memory: Some(given.memory),
                memory_swap: Some(given.memory),
                binds: Some(given.binds),
                extra_hosts: Some(given.hosts),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let id = docker.create_container(None, config).await.unwrap().id;
        Self { docker: docker.clone(), id }
    }

    pub async fn go(&self) {
        self.docker.start_container(&self.id, None).await.unwrap();
    }

    pub async fn runs(&self) -> bool {
        let state = self.docker.inspect_container(&self.id, None).await.unwrap().state.unwrap();
        state.running == Some(true)
    }

    /// Waits for its end and returns the exit code.
    pub async fn end(&self) -> i64 {
        wait_for("the container ends", async || !self.runs().await).await;
        self.docker.inspect_container(&self.id, None).await.unwrap().state.unwrap().exit_code.unwrap()
    }

    /// Waits until `url` answers with success; panics with the log when the container ends instead.
    pub async fn answers(&self, url: &str) {
        let what = format!("{url} answers, or the container has ended");
        let answered = wait_for(&what, async || {
            if !self.runs().await {
                return Some(false);
            }
            reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()).then_some(true)
        });
        assert!(answered.await, "{}", self.log().await);
    }

    pub async fn log(&self) -> String {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let lines: Vec<_> = self.docker.logs(&self.id, Some(options)).try_collect().await.unwrap();
        lines.iter().map(ToString::to_string).collect()
    }

    /// Stops it as Kubernetes does; returns the exit code, and whether it ran out of memory.
    pub async fn stop(&self) -> (Option<i64>, Option<bool>) {
        self.docker.stop_container(&self.id, Some(StopContainerOptionsBuilder::default().t(20).build())).await.unwrap();
        let state = self.docker.inspect_container(&self.id, None).await.unwrap().state.unwrap();
        (state.exit_code, state.oom_killed)
    }

    pub async fn remove(self) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.docker.remove_container(&self.id, Some(options)).await.unwrap();
    }
}
