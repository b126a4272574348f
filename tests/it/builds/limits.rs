//! Limits of builds, and the failure when one is reached.

use panda::clients::build::{BuildError, BuildFault};
use panda::clients::docker::BuildLimits;
use panda::domain::builder::BuilderChoice;
use panda_dev_services::{Engine, EngineOptions};

use super::{TestEngine, Wanted, build, on_both_engines};

on_both_engines!(run_step__process_limits_apply);

async fn run_step__process_limits_apply(engine: &TestEngine) {
    // Older engines' BuildKit has no such limit; see docs/builds.md.
    let version = engine.docker().version().await.unwrap();
    let major: u32 = version.split('.').next().unwrap().parse().unwrap();
    let choices = [BuilderChoice::Classic, BuilderChoice::BuildKit];
    for choice in choices.into_iter().take(if major < 23 { 1 } else { 2 }) {
        let dockerfile =
            format!("FROM busybox:1\nRUN : {}; echo \"soft=$(ulimit -Sn) hard=$(ulimit -Hn)\"\n", super::name());
        let files = [("Dockerfile", dockerfile.as_str())];
        let limits = BuildLimits { ulimits: vec!["nofile=321:654".to_owned()], ..BuildLimits::default() };
        let built = build(&engine.builder(choice), Wanted { limits, ..Wanted::new("acme", &files) }).await;
        assert!(built.output().contains("soft=321 hard=654"), "{choice:?}: {built:#?}");
    }
}

/// An engine whose disk is a small file system in memory.
async fn small_disk() -> Option<TestEngine> {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED: only root can give an engine a small disk");
        return None;
    }
    let dir = panda_dev_services::temporary_folder().unwrap();
    let data_dir = dir.path().join("docker");
    let data = data_dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    // The script is a constant; the folder and the engine's arguments are passed as its arguments.
    let script = "mount -t tmpfs -o size=64m tmpfs \"$1\" && shift && exec dockerd \"$@\"";
    let launcher = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"].map(Into::into);
    let launcher = launcher.into_iter().chain([data.into_os_string()]).collect();
    let options = EngineOptions { data_dir, launcher: Some(launcher), ..EngineOptions::default() };
    Some(TestEngine { engine: Engine::start(options).await.unwrap(), _dir: dir })
}

#[tokio::test]
async fn build_error__full_builder_disk_not_blamed_on_source() {
    let Some(engine) = small_disk().await else { return };
    let large = "x".repeat(100 << 20);
    let files = [("Dockerfile", "FROM busybox:1\nCOPY large /large\n"), ("large", large.as_str())];
    for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
        let built = build(&engine.builder(choice), Wanted::new("acme", &files)).await;
        let Err(BuildError::Failed { fault, message, .. }) = &built.result else { panic!("{choice:?}: {built:#?}") };
        assert_eq!(*fault, BuildFault::DiskFull, "{choice:?}: {message}");
    }
}
