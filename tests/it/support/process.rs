//! `panda serve` as a separate process that tests kill, pause and stop.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda_dev_services::DevServicesError;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::db::{KEY_FILE, TestDb};
use super::environment::Environment;
use super::wait_for;

const PORT_TRIES: u32 = 5;

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts a program on a free port, and tries again when another process took the port meanwhile.
pub async fn on_free_port<T>(name: &str, mut start: impl AsyncFnMut(SocketAddr) -> Result<T, DevServicesError>) -> T {
    for _ in 0..PORT_TRIES {
        match start(free_address()).await {
            Ok(started) => return started,
            Err(DevServicesError::Start { tail, .. }) if tail.contains("in use") => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{name} found no port in {PORT_TRIES} tries");
}

/// Ids of the processes that work below `folder`; none while it does not exist.
pub fn processes_in(folder: &Path) -> Vec<i32> {
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let works_there =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(works_there).collect()
}

/// The controller's own keys in `env`.
fn controller(env: &Environment) -> [(&'static str, &str); 2] {
    let keys = env.sandbox.controller_credentials();
    [
        ("AWS_ACCESS_KEY_ID", keys.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose_secret()),
    ]
}

/// A running server; dropping it kills it.
pub struct Serve {
    child: Child,
    /// Base URL of its API.
    pub url: String,
    dir: TempDir,
}

impl Serve {
    /// Starts it in `env`.
    pub fn start(env: &Environment, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        // Should another process take the port in between, only tests that use the API notice, and those begin with `ready`.
        let listen = free_address();
        let address = format!("--listen={listen}");
        let flags = env.flags(&[flags, &[address.as_str()]].concat());
        Self::spawn(listen, &flags, &[&controller(env), variables].concat())
    }

    /// Starts another build of it in `env` with a separate address. Settings are passed as variables: an older program rejects unknown options, but
    /// ignores unknown variables.
    pub fn start_other(program: &Path, env: &Environment, flags: &[&str]) -> Self {
        let listen = free_address();
        let address = format!("--listen={listen}");
        let variables: Vec<(String, String)> = env
            .flags(&[flags, &[address.as_str()]].concat())
            .iter()
            .map(|flag| {
                let (name, value) = flag.strip_prefix("--").unwrap().split_once('=').unwrap();
                (format!("PANDA_{}", name.replace('-', "_").to_uppercase()), value.to_owned())
            })
            .collect();
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::spawn_program(program, listen, &[], &[&controller(env), variables.as_slice()].concat())
    }

    /// Starts a server of which only the API matters, at `listen` and for pages of `origin`, on a database in which the test writes the events.
    pub fn api(db: &TestDb, listen: SocketAddr, origin: &str) -> Self {
        let flags = [
            format!("--listen={listen}"),
            format!("--cors-origins={origin}"),
            format!("--database-url={}", db.url()),
            "--controller-region=eu-west-1".to_owned(),
            format!("--key-file={KEY_FILE}"),
        ];
        Self::spawn(listen, &flags, &[("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")])
    }

    /// Starts it on a database with further flags and variables.
    pub fn on(db: &TestDb, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let listen = free_address();
        let mut all = vec![
            format!("--listen={listen}"),
            "--controller-region=eu-west-1".to_owned(),
            format!("--key-file={KEY_FILE}"),
        ];
        // Another `--database-url`, such as one through a proxy, wins.
        if !flags.iter().any(|flag| flag.starts_with("--database-url")) {
            all.push(format!("--database-url={}", db.url()));
        }
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let keys = [("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")];
        Self::spawn(listen, &all, &[&keys, env].concat())
    }

    fn spawn(listen: SocketAddr, flags: &[String], env: &[(&str, &str)]) -> Self {
        Self::spawn_program(Path::new(env!("CARGO_BIN_EXE_panda")), listen, flags, env)
    }

    fn spawn_program(program: &Path, listen: SocketAddr, flags: &[String], env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PANDA_") || name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.arg("serve").args(flags).env("RUST_LOG", "info,tokio_cron_scheduler=warn");
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), url: format!("http://{listen}"), dir }
    }

    /// Waits until it answers that it is ready.
    pub async fn ready(&self) {
        wait_for("the server is ready", async || {
            reqwest::get(format!("{}/readyz", self.url)).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// The text of its metrics.
    pub async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.url)).await.unwrap().text().await.unwrap()
    }

    /// The value of a series, named with its labels.
    pub async fn metric(&self, series: &str) -> u64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("the series {series} is missing in {text}")).parse().unwrap()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Its process id, which is the end of its name as a replica.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }
}
