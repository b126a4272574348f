//! `panda serve` as a process of its own, to be killed, paused and ended.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::db::{KEY_FILE, TestDb};
use super::wait_for;
use super::world::World;

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Ids of the processes that work below `folder`; none while it is not there.
pub fn processes_in(folder: &Path) -> Vec<i32> {
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let works_there =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(works_there).collect()
}

/// The controller's own keys in `world`.
fn controller(world: &World) -> [(&'static str, &str); 2] {
    let keys = world.sandbox.controller_credentials();
    [
        ("AWS_ACCESS_KEY_ID", keys.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose_secret()),
    ]
}

/// A running server; dropping it kills it.
pub struct Serve {
    child: Child,
    /// Its API, once somebody needs it.
    pub url: String,
    dir: TempDir,
}

impl Serve {
    /// Starts it in `world`; the database says what it does.
    pub fn start(world: &World, flags: &[&str], env: &[(&str, &str)]) -> Self {
        // Should somebody take the port in between, only tests that use the API notice, and those begin with `ready`.
        let listen = free_address();
        let address = format!("--listen={listen}");
        let flags = world.flags(&[flags, &[address.as_str()]].concat());
        Self::spawn(listen, &flags, &[&controller(world), env].concat())
    }

    /// Starts another build of it in `world`, with an address of its own. What it is told are variables: it knows no options that came after it, and
    /// does not mind variables that it does not know.
    pub fn start_other(program: &Path, world: &World, flags: &[&str]) -> Self {
        let listen = free_address();
        let address = format!("--listen={listen}");
        let variables: Vec<(String, String)> = world
            .flags(&[flags, &[address.as_str()]].concat())
            .iter()
            .map(|flag| {
                let (name, value) = flag.strip_prefix("--").unwrap().split_once('=').unwrap();
                (format!("PANDA_{}", name.replace('-', "_").to_uppercase()), value.to_owned())
            })
            .collect();
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::spawn_program(program, listen, &[], &[&controller(world), variables.as_slice()].concat())
    }

    /// Starts one whose API alone is of interest, at `listen` and for pages of `origin`, on a database in which others tell what happens.
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

    /// Starts one on a database, with further flags and variables.
    pub fn on(db: &TestDb, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let listen = free_address();
        let mut all = vec![
            format!("--listen={listen}"),
            "--controller-region=eu-west-1".to_owned(),
            format!("--key-file={KEY_FILE}"),
        ];
        // By a way of its own, perhaps.
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

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Its process id, which is the end of its name as a replica.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }
}
