//! The image of the Dockerfile, run as the chart runs it. It contains the program of this build; nothing is compiled in the engine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::clients::docker_tls::tls_proxy;
use crate::dev_services::forget_image;
use crate::reconcile::{deploy, status};
use crate::support::authority::Authority;
use crate::support::commands::Commands as _;
use crate::support::container::{Contained, Given, build};
use crate::support::db::KEY_FILE;
use crate::support::environment::Environment;
use crate::support::panda::Panda;
use crate::support::process::free_address;
use panda_testing::Program as _;

/// The memory that the chart requests, and that has to suffice for a deployment.
const MEMORY: i64 = 128 << 20;

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
    let image = build(&env.engine, &Panda::path()).await;
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
    forget_image(&env.engine, &image).await;
}
