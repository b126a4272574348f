//! The release program as a separate process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use panda_testing::process::command::create_token;
pub use panda_testing::process::usage::{cpu_of, resident_mib, scheduled_seconds};
use panda_testing::serve::Serve;
use panda_testing::serve::ServeBuilder;
use url::Url;

/// The program, built with the profile of this bench: another package's executable is not built with a bench.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/PROFILE/deps/BENCH
        let own = std::env::current_exe().unwrap();
        let folder = own.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "panda", "--bin", "panda"]);
        build.args(folder.ends_with("release").then_some("--release"));
        build.arg("--target-dir").arg(folder.parent().unwrap()).current_dir(panda_testing::root());
        assert!(build.status().unwrap().success(), "failed: {build:?}");
        folder.join("panda")
    })
}

/// A running program; dropping it kills it, as `kill -9` does.
pub struct Panda {
    serve: Serve,
    pub base: String,
    pub ready_ms: f64,
}

impl Panda {
    /// Starts `panda serve` on the database `url` and waits until it reports that it is ready.
    pub async fn start(url: &Url) -> Self {
        Self::start_with(url, &[], &[]).await
    }

    /// Starts it with further options and variables.
    pub async fn start_with(url: &Url, options: &[String], variables: &[(&str, String)]) -> Self {
        Self::start_at(url.as_str(), options, variables).await
    }

    /// The same, with an address that may name several servers.
    pub async fn start_at(url: &str, options: &[String], variables: &[(&str, String)]) -> Self {
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // All clients of a bench share one address, so its limit is raised unless a bench measures it.
        let serve = ServeBuilder::of(program())
            .database(url)
            .flags(&["--controller-region=ap-northeast-2", "--rate-per-client=0"]);
        let serve = serve.flags(options).variables(&variables).without_log();
        let started = Instant::now();
        let serve = serve.start();
        let http = reqwest::Client::new();
        let ready = format!("{}/readyz", serve.url);
        while !http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(started.elapsed() < Duration::from_secs(30), "never ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self { base: serve.url.clone(), serve, ready_ms: started.elapsed().as_secs_f64() * 1_000.0 }
    }

    /// Returns the address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.serve.listen
    }

    /// Returns the resident memory now.
    pub fn resident_mib(&self) -> f64 {
        self.serve.resident_mib()
    }

    /// Sends SIGTERM, as a rolling update does, waits for the end of the process, and returns the time that took.
    pub async fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        self.serve.signal(Signal::SIGTERM);
        let status = tokio::time::timeout(Duration::from_mins(1), self.serve.wait()).await.expect("never ends");
        assert!(status.success(), "it ends with {status}");
        begun.elapsed()
    }

    pub fn pid(&self) -> u32 {
        self.serve.pid().unsigned_abs()
    }

    /// Returns user and system time so far.
    pub fn cpu_seconds(&self) -> f64 {
        self.serve.cpu_seconds()
    }
}

/// Creates a token on the database `url` as an operator does.
pub async fn token(url: &Url, name: &str, role: &str, options: &[String]) -> String {
    let own = ["--name", name, "--role", role].map(str::to_owned);
    create_token(program(), url.as_str(), &[&own, options].concat()).await
}
