//! The release program as a separate process.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use url::Url;

/// A running release binary; dropping it kills it, as `kill -9` does.
pub struct Panda {
    child: Child,
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
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_panda"))
            .args(["serve", &format!("--listen=127.0.0.1:{port}"), "--controller-region=ap-northeast-2"])
            // All clients of a bench share one address, so its limit is raised unless a bench measures it.
            .args(
                (!options.iter().any(|option| option.starts_with("--rate-per-client=")))
                    .then_some("--rate-per-client=0"),
            )
            .arg(concat!("--key-file=", env!("CARGO_MANIFEST_DIR"), "/tests/it/support/test.keys"))
            .args(options)
            .env("PANDA_DATABASE_URL", url)
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let http = reqwest::Client::new();
        while !http.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(started.elapsed() < Duration::from_secs(30), "never ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self { child, base, ready_ms: started.elapsed().as_secs_f64() * 1_000.0 }
    }

    /// Returns the address on which it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.base.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Returns the resident memory now.
    pub fn resident_mib(&self) -> f64 {
        resident_mib(self.child.id())
    }

    /// Sends SIGTERM, as a rolling update does, waits for the end of the process, and returns the time that took.
    pub async fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), nix::sys::signal::SIGTERM)
            .unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "it ends with {status}");
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "never ends");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns user and system time so far.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_of(self.child.id()).map_or(0.0, |cpu| cpu.own)
    }
}

impl Drop for Panda {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the resident memory of a process now.
pub fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}

/// Returns the processor time of all threads of a process in seconds, as the scheduler counts it: to the nanosecond, where `/proc/*/stat` has
/// hundredths of a second. Excludes threads that have ended.
pub fn scheduled_seconds(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// Processor time from /proc; its unit is a hundredth of a second on every known Linux.
pub struct Cpu {
    pub parent: u32,
    /// Of the process, in seconds.
    pub own: f64,
    /// Of its children that have ended, in seconds.
    pub ended_children: f64,
}

/// Returns the processor time of a process; none when it has ended.
pub fn cpu_of(pid: u32) -> Option<Cpu> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the bracket may contain anything.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let seconds = |at: usize| fields[at].parse::<f64>().unwrap_or_default() / 100.0;
    Some(Cpu {
        parent: fields[1].parse().ok()?,
        own: seconds(11) + seconds(12),
        ended_children: seconds(13) + seconds(14),
    })
}
