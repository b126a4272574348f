//! Runs the program in a container as the chart does: `make bench-pod`.
//!
//! Uses the release binary's image (the Dockerfile, filled with `scripts/image-root.sh`), as user 65532, read-only, without capabilities, with the
//! chart's memory limit, on a migrated durable Postgres that is running. Start to ready is the time from the request to start an existing container
//! until `/readyz` answers 200, polled every 2 ms; a cluster polls every two seconds (`probes.readiness`), and pulls the image before. Memory is the
//! engine's figure for the container's cgroup, minus the page cache that can be reclaimed (`inactive_file`): the kubelet calls this the working set,
//! and the limit applies to it. It includes the program's file only as far as this container was the first to read it, so the limit is also compared
//! with the process's resident memory (VmRSS), which includes all of it. The same program is measured outside a container for comparison.
//!
//! `PANDA_BENCH_STARTS` (10) is the number of starts, `PANDA_BENCH_SECONDS` (30) the idle time before memory is read.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt as _;
use panda_benches::figures::{head, line, median, number, seconds};
use panda_benches::postgres::Server;
use panda_benches::process::{Panda, program, resident_mib};
use panda_dev_services::{Engine, temporary_folder};
use panda_testing::KEY_FILE;
use panda_testing::container::{Contained, Given, build};
use panda_testing::engines::forget_image;
use tempfile::TempDir;
use url::Url;

/// Defaults of the chart.
const CHART: &str = include_str!("../helm/panda/values.yaml");
const READY_LIMIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let starts: usize = number("PANDA_BENCH_STARTS", 10);
    let rest = seconds("PANDA_BENCH_SECONDS", 30);
    let dir = temporary_folder().unwrap();
    let engine = Engine::find_or_start(&dir.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    let image = build(&engine, program()).await;
    let size = engine.docker().inspect_image(&image).await.unwrap().size.unwrap();
    let server = Server::start().await;
    let database = server.database().await;

    let (mut contained, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let pod = Pod::start(&engine, &image, &database.url).await;
        contained.push(pod.ready_ms);
        pod.remove().await;
        bare.push(Panda::start(&database.url).await.ready_ms);
    }
    let pod = Pod::start(&engine, &image, &database.url).await;
    let beside = Panda::start(&database.url).await;
    tokio::time::sleep(rest).await;
    let (working_set, resident, outside) =
        (pod.working_set_mib().await, pod.resident_mib().await, beside.resident_mib());
    drop(beside);
    pod.remove().await;
    forget_image(&engine, &image).await;
    engine.stop_and_remove().await.unwrap();

    head();
    let ready = median(&contained);
    line(&format!("container start to ready, median of {starts}"), format!("{ready:.0} ms"), "2000 ms");
    line("  the slowest", format!("{:.0} ms", contained.iter().copied().fold(0.0, f64::max)), "");
    line("  the same program outside of a container, median", format!("{:.0} ms", median(&bare)), "");
    let shown = working_set.map_or("not accounted".to_owned(), |mib| format!("{mib:.1} MiB"));
    line(&format!("working set after {} s at rest", rest.as_secs()), shown, "64 MiB");
    line("  resident memory (VmRSS)", format!("{resident:.1} MiB"), "64 MiB");
    line("  the same outside of a container", format!("{outside:.1} MiB"), "");
    line("image, as the engine counts", format!("{:.1} MB", size as f64 / 1e6), "60 MB");
    println!(
        "{}",
        serde_json::json!({
            "starts": starts, "ready_ms": ready, "ready_outside_ms": median(&bare), "working_set_mib": working_set, "rss_mib": resident,
            "rss_outside_mib": outside, "image_bytes": size,
        })
    );
}

/// A container that is ready.
struct Pod {
    contained: Contained,
    ready_ms: f64,
    _folders: [TempDir; 3],
}

impl Pod {
    async fn start(engine: &Engine, image: &str, database: &Url) -> Self {
        let folders = [folder(0o755), folder(0o777), folder(0o777)];
        let [keys, workspaces, tmp] = &folders;
        let key_file = keys.path().join("keys");
        std::fs::copy(KEY_FILE, &key_file).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let given = Given {
            args: vec!["serve".to_owned()],
            env: vec![
                format!("PANDA_DATABASE_URL={database}"),
                format!("PANDA_LISTEN=127.0.0.1:{port}"),
                "PANDA_KEY_FILE=/etc/panda/keys/keys".to_owned(),
                "PANDA_WORKSPACE_DIR=/workspaces/panda".to_owned(),
                "PANDA_CONTROLLER_REGION=ap-northeast-2".to_owned(),
                "PANDA_LOG_FORMAT=json".to_owned(),
            ],
            binds: vec![
                format!("{}:/etc/panda/keys:ro", keys.path().display()),
                format!("{}:/workspaces", workspaces.path().display()),
                format!("{}:/tmp", tmp.path().display()),
            ],
            memory: limit_of_the_chart(),
            ..Given::default()
        };
        let contained = Contained::make(engine.docker(), image, given).await;
        let (http, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}/readyz"));
        let begun = Instant::now();
        contained.go().await;
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            assert!(begun.elapsed() < READY_LIMIT, "never ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self { contained, ready_ms: begun.elapsed().as_secs_f64() * 1_000.0, _folders: folders }
    }

    /// Returns the memory of its cgroup without reclaimable pages; none where the engine does not account for it.
    async fn working_set_mib(&self) -> Option<f64> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = self.contained.docker.stats(&self.contained.id, Some(options)).next().await?.unwrap();
        let memory = stats.memory_stats?;
        let usage = memory.usage.filter(|bytes| *bytes > 0)?;
        // The second name is the one in cgroups version 1.
        let of = |name: &str| memory.stats.as_ref().and_then(|stats| stats.get(name)).copied();
        let cache = of("inactive_file").or_else(|| of("total_inactive_file")).unwrap_or_default();
        Some((usage.saturating_sub(cache)) as f64 / 1_048_576.0)
    }

    async fn resident_mib(&self) -> f64 {
        let state = self.contained.docker.inspect_container(&self.contained.id, None).await.unwrap().state.unwrap();
        resident_mib(u32::try_from(state.pid.unwrap()).unwrap())
    }

    async fn remove(self) {
        self.contained.remove().await;
    }
}

/// Creates a folder that user 65532 can read, or also write.
fn folder(mode: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions::<&Path>(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    folder
}

/// Returns the chart's memory limit of Panda's container in bytes.
fn limit_of_the_chart() -> i64 {
    let own = CHART.split_once("\nresources:\n").unwrap().1;
    let limits = own.split_once("limits:\n").unwrap().1.lines().next().unwrap();
    let mebibytes = limits.trim().strip_prefix("memory: ").and_then(|text| text.strip_suffix("Mi")).unwrap();
    mebibytes.parse::<i64>().unwrap() << 20
}
