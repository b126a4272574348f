//! Compares builds with Docker's own client: `make bench-build`.
//!
//! Runs on one current engine (scripts/modern-engine.sh), in alternating runs: the second build of a repository with a dependency layer of 200 MB
//! after a change of one line, and the first build with a context of 50,000 files, by Panda's client and by `docker buildx build`; a fetch of a
//! repository of 100 MB, and `git clone --depth 1` of it. Each run changes its input, so that no run finds the other's result; both have the same
//! cache. Also measures the memory of this process while it builds.
//!
//! `PANDA_BENCH_RUNS` (5) is the number of pairs of runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use panda::clients::builder::{BuildJob, Builder};
use panda::clients::buildkit::MountedSecrets;
use panda::clients::docker::{BuildLimits, Docker};
use panda::clients::git::{FetchRequest, Git, GitLimits};
use panda::clients::registry_credentials::Credentials;
use panda::domain::build_spec::BuildOptions;
use panda::domain::builder::BuilderChoice;
use panda::domain::source::Revision;
use panda::metrics::BuildMetrics;
use panda_benches::figures::{head, line, median, number};
use panda_benches::process::program;
use panda_dev_services::Engine;
use panda_sandbox::git::SourceFile;
use panda_sandbox::github::GitHub;
use panda_testing::engines::{current_engine, start_current_engine};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Dockerfile with a dependency layer of random bytes, so that it costs what real packages cost.
const DEPENDENCIES: &str = "FROM busybox:1\nCOPY package.lock /app/\nRUN head -c 200000000 /dev/urandom > /app/dependencies\nCOPY main.txt /app/\nRUN wc -c /app/main.txt\n";
const CONTEXT: &str = "FROM scratch\nCOPY . /app/\n";
const CONTEXT_FILES: usize = 50_000;
const REPOSITORY_BYTES: usize = 100_000_000;

struct Measured {
    engine: Engine,
    config: TempDir,
    _dir: TempDir,
}

#[tokio::main]
async fn main() {
    let runs: usize = number("PANDA_BENCH_RUNS", 5);
    let Some(measured) = Measured::start().await else { return };
    head();
    dependencies(&measured, runs).await;
    context(&measured, runs).await;
    fetch(runs).await;
}

impl Measured {
    async fn start() -> Option<Self> {
        let root = current_engine()?;
        let (engine, dir) = start_current_engine(serde_json::Value::Null).await?;
        // The buildx release that belongs to the engine.
        let config = tempfile::tempdir().unwrap();
        let plugins = config.path().join("cli-plugins");
        std::fs::create_dir(&plugins).unwrap();
        std::fs::copy(root.join("usr/libexec/docker/cli-plugins/docker-buildx"), plugins.join("docker-buildx"))
            .unwrap();
        Some(Self { engine, config, _dir: dir })
    }

    /// Builds `folder` and returns the time, and the peak memory of this process meanwhile in KiB.
    async fn panda(&self, folder: &Path) -> (Duration, u64) {
        let docker = Docker::connect(Some(self.engine.host())).unwrap();
        let builder = Builder::new("bench", docker, None, BuilderChoice::BuildKit, BuildMetrics::default());
        builder.set_secret("bench".into());
        let build = BuildJob {
            root: folder,
            context: Path::new(""),
            dockerfile: Path::new("Dockerfile"),
            image: "panda-bench:panda",
            options: &BuildOptions::default(),
            own_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            committed_at: None,
            cache_domain: builder.cache_domain("bench"),
            cache: None,
            credentials: Credentials::default(),
            secrets: MountedSecrets::default(),
            network: Some("host"),
            limits: &BuildLimits::default(),
        };
        // Resets the peak.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let started = Instant::now();
        let active = builder.active().await.unwrap();
        let (lines, _) = mpsc::channel(1);
        builder.build(&active, build, lines).await.unwrap();
        (started.elapsed(), resident("VmHWM:"))
    }

    fn buildx(&self, folder: &Path) -> Duration {
        let started = Instant::now();
        let status = Command::new("docker")
            .args([
                "buildx",
                "build",
                "--network",
                "host",
                "--pull",
                "--quiet",
                "--provenance=false",
                "--tag",
                "panda-bench:buildx",
                ".",
            ])
            .current_dir(folder)
            .env("DOCKER_HOST", self.engine.host())
            .env("DOCKER_CONFIG", self.config.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        started.elapsed()
    }
}

/// Measures the second build, after a change of one line.
async fn dependencies(measured: &Measured, runs: usize) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("Dockerfile", DEPENDENCIES);
    write("package.lock", "1");
    write("main.txt", "0");
    measured.panda(folder.path()).await;
    measured.buildx(folder.path());
    let before = resident("VmRSS:");
    let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
    for run in 0..runs {
        write("main.txt", &format!("panda {run}"));
        let (took, memory) = measured.panda(folder.path()).await;
        ours.push(took.as_secs_f64() * 1e3);
        peak = peak.max(memory);
        write("main.txt", &format!("buildx {run}"));
        theirs.push(measured.buildx(folder.path()).as_secs_f64() * 1e3);
    }
    report("second build, 200 MB layer, one line changed", &ours, &theirs, "docker buildx", 1.2);
    line(
        "  memory above idle while building",
        format!("{:.1} MiB", peak.saturating_sub(before) as f64 / 1_024.0),
        "20",
    );
}

/// Measures a build whose context was never sent before.
async fn context(measured: &Measured, runs: usize) {
    let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
    let before = resident("VmRSS:");
    for run in 0..runs {
        for (who, times) in [("panda", &mut ours), ("buildx", &mut theirs)] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("Dockerfile"), CONTEXT).unwrap();
            for number in 0..CONTEXT_FILES {
                let at = folder.path().join(format!("{}", number / 500));
                std::fs::create_dir_all(&at).unwrap();
                std::fs::write(at.join(format!("{number}.js")), format!("{who} {run} {number}\n").repeat(20)).unwrap();
            }
            let (took, memory) = match who {
                "panda" => measured.panda(folder.path()).await,
                _ => (measured.buildx(folder.path()), 0),
            };
            times.push(took.as_secs_f64() * 1e3);
            peak = peak.max(memory);
        }
    }
    report("build with a context of 50,000 files", &ours, &theirs, "docker buildx", 1.5);
    line(
        "  memory above idle while sending them",
        format!("{:.1} MiB", peak.saturating_sub(before) as f64 / 1_024.0),
        "20",
    );
}

/// Measures a fetch without history.
async fn fetch(runs: usize) {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let github = GitHub::start(listener, &dir.path().join("git")).await.unwrap();
    let files = (0..100_u64)
        .map(|number| {
            let mut seed = number + 1;
            let bytes: Vec<u8> = (0..REPOSITORY_BYTES / 100)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    seed.to_le_bytes()[0]
                })
                .collect();
            SourceFile::new(format!("data/{number}.bin"), bytes)
        })
        .collect();
    github.repositories().add_repository("bench", "large", None, "main", files).await.unwrap();
    let url = format!("{}/bench/large.git", github.git_url());
    let git = Git::new(GitLimits::default()).with_program(Some(program().to_owned()));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let into = dir.path().join(format!("panda-{run}"));
        let request = FetchRequest {
            url: &url.parse().unwrap(),
            revision: &Revision::Branch("main".to_owned()),
            token: None,
            into: &into,
        };
        let started = Instant::now();
        git.fetch(request, CancellationToken::new()).await.unwrap();
        ours.push(started.elapsed().as_secs_f64() * 1e3);
        let into = dir.path().join(format!("git-{run}"));
        let started = Instant::now();
        let cloned = Command::new("git").args(["clone", "--quiet", "--depth", "1", &url]).arg(&into).status().unwrap();
        assert!(cloned.success());
        theirs.push(started.elapsed().as_secs_f64() * 1e3);
    }
    report("fetch of a repository of 100 MB", &ours, &theirs, "git clone --depth 1", 1.2);
}

fn report(what: &str, ours: &[f64], theirs: &[f64], peer: &str, bar: f64) {
    let (ours, theirs) = (median(ours), median(theirs));
    line(what, format!("{ours:.0} ms"), "");
    line(&format!("  {peer}"), format!("{theirs:.0} ms"), "");
    line("  ratio", format!("{:.2}", ours / theirs), &format!("{bar}"));
}

/// Returns the resident memory of this process in KiB: `VmRSS:` now, `VmHWM:` at its peak.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    rss.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
