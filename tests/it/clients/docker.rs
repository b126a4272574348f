//! Builds on a real engine (`DOCKER_HOST` or the usual socket) that has `busybox:1`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use panda::clients::{
    ErrorKind,
    build::{BuildError, LINE_COST, Progress},
    docker::{BuildLimits, BuildRequest, BuiltImage, Docker},
    registry_credentials::Credentials,
};
use panda::domain::build_spec::BuildOptions;
use tempfile::TempDir;
use tokio::sync::mpsc;
use uuid::Uuid;

pub(crate) fn engine() -> Docker {
    Docker::connect(None).unwrap()
}

/// Ensures that the engine has `busybox:1`.
pub(crate) async fn base_image() {
    static MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    MADE.get_or_init(|| async { drop(crate::dev_services::engine().await) }).await;
}

pub(crate) fn context(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// A name that no other test uses.
pub(crate) fn name() -> String {
    format!("panda-test-{}:v1", Uuid::new_v4().simple())
}

/// Builds the folder's Dockerfile and returns the output lines.
pub(crate) async fn build(
    folder: &Path,
    tag: &str,
    labels: &[(&str, &str)],
) -> (Result<BuiltImage, BuildError>, Vec<String>) {
    build_within(folder, tag, labels, BuildLimits::default()).await
}

async fn build_within(
    folder: &Path,
    tag: &str,
    labels: &[(&str, &str)],
    limits: BuildLimits,
) -> (Result<BuiltImage, BuildError>, Vec<String>) {
    build_with(&engine(), folder, tag, labels, limits).await
}

/// Builds on another engine than the shared one.
pub(crate) async fn build_on(
    docker: &Docker,
    folder: &Path,
    tag: &str,
) -> (Result<BuiltImage, BuildError>, Vec<String>) {
    build_with(docker, folder, tag, &[], BuildLimits::default()).await
}

async fn build_with(
    docker: &Docker,
    folder: &Path,
    tag: &str,
    labels: &[(&str, &str)],
    limits: BuildLimits,
) -> (Result<BuiltImage, BuildError>, Vec<String>) {
    let labels: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let request = BuildRequest {
        source: folder,
        context: Path::new(""),
        dockerfile: Path::new("Dockerfile"),
        committed_at: None,
        tag,
        labels: &labels,
        options: &BuildOptions::default(),
        own_args: &BTreeMap::new(),
        credentials: &Credentials::default(),
        network: Some("host"),
        limits,
    };
    base_image().await;
    let (sender, mut receiver) = mpsc::channel(8);
    let collect = async {
        let mut lines = Vec::new();
        while let Some(progress) = receiver.recv().await {
            if let Progress::Line { line, .. } = progress {
                lines.push(line.text);
            }
        }
        lines
    };
    tokio::join!(docker.build(request, sender), collect)
}

#[tokio::test]
async fn docker_build__clean_lines_and_labelled_image() {
    let folder = context(&[
        (
            "Dockerfile",
            "FROM busybox:1\nCOPY . /app\nRUN printf '\\033[31mred\\033[0m\\n\\n10%%\\r100%%\\n' && ls -A /app && readlink /app/link\n",
        ),
        (".dockerignore", "# not for the image\nsecret*\n"),
        ("secret.txt", "hush"),
        // Unique content: a step from the engine's cache repeats no output.
        ("kept.txt", &name()),
        (".git/config", "[core]"),
    ]);
    symlink("/outside/target", folder.path().join("link")).unwrap();
    let tag = name();
    let (built, lines) = build(folder.path(), &tag, &[("panda.deployment", "dep_1")]).await;
    let built = built.unwrap();
    let has = |line: &str| lines.iter().any(|l| l == line);
    assert!(has("red") && has("100%") && has("kept.txt") && has("/outside/target"), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains('\u{1b}') || line.trim().is_empty() || line.contains("10%\r")));
    assert!(!has("secret.txt") && !has(".git"), "{lines:#?}");

    let image = engine().find_image(&tag).await.unwrap().unwrap();
    assert_eq!(image.id, built.id);
    assert_eq!(image.labels["panda.deployment"], "dep_1");
    engine().remove_image(&tag).await.unwrap();
    assert_eq!(engine().find_image(&tag).await.unwrap(), None);
}

#[tokio::test]
async fn docker_build__failed_step_has_reason_and_last_lines() {
    let folder = context(&[("Dockerfile", "FROM busybox:1\nRUN echo the disk is on fire && exit 3\n")]);
    let (built, _) = build(folder.path(), &name(), &[]).await;
    let Err(BuildError::Failed { message, last_lines, .. }) = built else { panic!("{built:?}") };
    assert!(message.contains("returned a non-zero code: 3"), "{message}");
    assert!(last_lines.iter().any(|line| line == "the disk is on fire"), "{last_lines:#?}");
}

#[tokio::test]
async fn docker_build__unreadable_dockerfile_or_missing_file_fails() {
    for (text, reason) in [("FROMM busybox:1\n", "unknown instruction"), ("FROM busybox:1\nCOPY nope /\n", "nope")] {
        let folder = context(&[("Dockerfile", text)]);
        let (built, _) = build(folder.path(), &name(), &[]).await;
        let Err(BuildError::Failed { message, .. }) = built else { panic!("{built:?}") };
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn docker_build__continues_without_line_receiver() {
    let folder = context(&[("Dockerfile", "FROM busybox:1\nRUN seq 1 200\n")]);
    base_image().await;
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let tag = name();
    let labels = BTreeMap::new();
    let request = BuildRequest {
        source: folder.path(),
        context: Path::new(""),
        dockerfile: Path::new("Dockerfile"),
        committed_at: None,
        tag: &tag,
        labels: &labels,
        options: &BuildOptions::default(),
        own_args: &BTreeMap::new(),
        credentials: &Credentials::default(),
        network: Some("host"),
        limits: BuildLimits::default(),
    };
    engine().build(request, sender).await.unwrap();
    engine().remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn docker_build__memory_limit_ends_step() {
    // tail keeps an endless line in memory as a whole.
    let step = "got=$(head -c 200000000 /dev/zero | tail -n 1 | wc -c); echo got $got; test $got = 200000000";
    let folder = context(&[("Dockerfile", &format!("FROM busybox:1\nRUN : {}; {step}\n", name()))]);
    let within = |mib: u64| BuildLimits { memory_bytes: Some(mib << 20), ..BuildLimits::default() };
    let (built, lines) = build_within(folder.path(), &name(), &[], within(32)).await;
    assert!(matches!(built, Err(BuildError::Failed { .. })), "{built:?} {lines:#?}");
    // Larger than the engine library's number type.
    let tag = name();
    let (built, lines) = build_within(folder.path(), &tag, &[], within(3 << 10)).await;
    assert!(built.is_ok(), "{built:?} {lines:#?}");
    engine().remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn docker_build__processor_limit_sent_to_engine() {
    let quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null || true";
    let folder = context(&[("Dockerfile", &format!("FROM busybox:1\nRUN : {}; {quota}\n", name()))]);
    let tag = name();
    let limits = BuildLimits { cpu_millis: Some(1_500), ..BuildLimits::default() };
    let (built, lines) = build_within(folder.path(), &tag, &[], limits).await;
    built.unwrap();
    assert!(lines.iter().any(|line| line.starts_with("150000")), "{lines:#?}");
    engine().remove_image(&tag).await.unwrap();
}

#[tokio::test]
async fn docker_build__endless_output_truncated_keeping_last_lines() {
    let folder = context(&[("Dockerfile", "FROM busybox:1\nRUN yes flood | head -n 100000; echo the end; exit 1\n")]);
    let limits = BuildLimits { output_bytes: 10_000, ..BuildLimits::default() };
    let (built, lines) = build_within(folder.path(), &name(), &[], limits).await;
    let received: usize = lines.iter().map(|line| line.len() + LINE_COST).sum();
    assert!(received < 10_000 + 2 * LINE_COST + 100, "{received}");
    assert!(lines.last().unwrap().contains("PANDA_BUILD_MAX_OUTPUT"));
    let Err(BuildError::Failed { last_lines, .. }) = built else { panic!("{built:?}") };
    assert!(last_lines.iter().any(|line| line == "the end"), "{last_lines:#?}");
}

/// True if a container whose command mentions `mark` runs.
async fn runs(mark: &str) -> bool {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    let engine = bollard::Docker::connect_with_host(&host).unwrap().negotiate_version().await.unwrap();
    let containers = engine.list_containers(None::<bollard::query_parameters::ListContainersOptions>).await.unwrap();
    containers.iter().any(|container| container.command.as_deref().is_some_and(|command| command.contains(mark)))
}

async fn wait_until_running(mark: &str, wanted: bool) {
    let started = Instant::now();
    while runs(mark).await != wanted {
        assert!(started.elapsed() < Duration::from_secs(30), "running is still {}", !wanted);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn docker_build__dropped_future_stops_build() {
    // Early in the command, because the engine lists a shortened command.
    let mark = Uuid::new_v4().simple().to_string()[..8].to_owned();
    let folder = context(&[("Dockerfile", &format!("FROM busybox:1\nRUN : {mark}; sleep 300\n"))]);
    let tag = name();
    {
        let building = Box::pin(build(folder.path(), &tag, &[]));
        let running = Box::pin(wait_until_running(&mark, true));
        let first = futures_util::future::select(building, running).await;
        assert!(matches!(first, futures_util::future::Either::Right(_)), "the build ended by itself");
    }
    wait_until_running(&mark, false).await;
}

#[tokio::test]
async fn docker_engine__unreachable_then_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let docker = Docker::connect(Some(&format!("unix://{}/docker.sock", folder.path().display()))).unwrap();
    assert_eq!(docker.ping().await.unwrap_err().kind, ErrorKind::Unavailable);
    let address = super::unreachable_address().await;
    let docker = Docker::connect(Some(&format!("tcp://{}", address.authority()))).unwrap();
    assert_eq!(docker.ping().await.unwrap_err().kind, ErrorKind::Unavailable);
    engine().ping().await.unwrap();
}

#[tokio::test]
async fn docker_engine__missing_image_is_none_or_not_found() {
    let tag = name();
    assert_eq!(engine().find_image(&tag).await.unwrap(), None);
    assert_eq!(engine().tag(&tag, &name()).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(engine().remove_image(&tag).await.unwrap_err().kind, ErrorKind::NotFound);
}
