//! The image of the Dockerfile and its containers: for tests, and for the bench of pods.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{BuildImageOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::TryStreamExt as _;
use panda_dev_services::Engine;
use uuid::Uuid;

/// The build context: the Dockerfile, and the files that `scripts/image-root.sh` makes of this build's program.
fn context() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("image-root");
    let script =
        Command::new(root.join("scripts/image-root.sh")).arg(env!("CARGO_BIN_EXE_panda")).arg(&made).output().unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    std::fs::copy(root.join("Dockerfile"), folder.path().join("Dockerfile")).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder.path()).unwrap();
    archive.into_inner().unwrap()
}

/// Builds the image from scratch, with a build stage that has a shell and no compiler.
pub(crate) async fn build(engine: &Engine) -> String {
    let image = format!("panda-test-image-{}:1", Uuid::new_v4().simple());
    let args = [("RUST", "busybox:1"), ("BASE", "scratch"), ("PREBUILT", "1"), ("VERSION", "9.9.9")];
    let options = BuildImageOptionsBuilder::default()
        .t(&image)
        .buildargs(&HashMap::from(args))
        .networkmode(engine.network_mode().unwrap_or("default"))
        .rm(true)
        .forcerm(true)
        .build();
    let body = bollard::body_full(context().into());
    let said: Vec<_> = engine.docker().build_image(options, None, Some(body)).try_collect().await.unwrap();
    let failed: Vec<_> = said.iter().filter_map(|line| line.error_detail.as_ref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    image
}

pub(crate) async fn forget(engine: &Engine, image: &str) {
    panda::clients::docker::Docker::connect(Some(engine.host())).unwrap().remove_image(image).await.unwrap();
}

/// An unprivileged container, as Kubernetes runs it under the restricted standard.
pub(crate) struct Contained {
    pub(crate) docker: Docker,
    pub(crate) id: String,
}

/// Options of a container.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) args: Vec<String>,
    /// Entries of the form `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Entries of the form `outside:inside[:ro]`.
    pub(crate) binds: Vec<String>,
    /// `user:group`; the image's own when absent.
    pub(crate) user: Option<String>,
    /// `name:address`, in addition to the resolver's names.
    pub(crate) hosts: Vec<String>,
    /// Memory limit of the container, in bytes.
    pub(crate) memory: i64,
}

impl Contained {
    pub(crate) async fn start(docker: &Docker, image: &str, given: Given) -> Self {
        let made = Self::make(docker, image, given).await;
        made.go().await;
        made
    }

    /// Creates the container without starting it.
    pub(crate) async fn make(docker: &Docker, image: &str, given: Given) -> Self {
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

    pub(crate) async fn go(&self) {
        self.docker.start_container(&self.id, None).await.unwrap();
    }

    pub(crate) async fn remove(self) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.docker.remove_container(&self.id, Some(options)).await.unwrap();
    }
}
