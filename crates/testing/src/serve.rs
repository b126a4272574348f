//! `panda serve` as a separate process that tests kill, pause and stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::process::Child;

use crate::environment::Environment;
use crate::postgres::TestDb;
use crate::process::command::command;
use crate::process::{free_address, usage};
use crate::{KEY_FILE, Program, wait_for};

/// A server to be started.
#[derive(Clone, Debug)]
pub struct ServeBuilder {
    program: PathBuf,
    listen: Option<SocketAddr>,
    /// Options by their names.
    options: BTreeMap<String, Option<String>>,
    variables: Vec<(String, String)>,
    by_variables: bool,
    logs: bool,
}

impl ServeBuilder {
    /// A server of this build of the program, with the keys of all tests.
    pub fn of(program: &Path) -> Self {
        let new = Self {
            program: program.to_owned(),
            listen: None,
            options: BTreeMap::new(),
            variables: Vec::new(),
            by_variables: false,
            logs: true,
        };
        new.flag(&format!("--key-file={KEY_FILE}"))
    }

    /// Uses the services of `env`, with short intervals.
    pub fn environment<P: Program>(mut self, env: &Environment<P>) -> Self {
        let keys = env.sandbox.controller_credentials();
        self.variables.push(("AWS_ACCESS_KEY_ID".to_owned(), keys.access_key_id.clone()));
        self.variables.push(("AWS_SECRET_ACCESS_KEY".to_owned(), keys.secret_access_key.expose_secret().to_owned()));
        env.flags(&[]).iter().fold(self, |builder, flag| builder.flag(flag))
    }

    /// Uses this database, and no other service.
    pub fn database(self, url: &str) -> Self {
        let keys = [("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")];
        self.flag(&format!("--database-url={url}")).flag("--controller-region=eu-west-1").variables(&keys)
    }

    /// Sets an option of the form `--name=value`, or `--name`; a later one replaces an earlier one of the same name.
    pub fn flag(mut self, flag: &str) -> Self {
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        // A file takes the place of the database's own address: the two exclude each other.
        if name == "--database-url-file" {
            self.options.remove("--database-url");
        }
        self.options.insert(name.to_owned(), value);
        self
    }

    pub fn flags<F: AsRef<str>>(self, flags: &[F]) -> Self {
        flags.iter().fold(self, |builder, flag| builder.flag(flag.as_ref()))
    }

    pub fn variables(mut self, variables: &[(&str, &str)]) -> Self {
        self.variables.extend(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// Listens here instead of on a free port.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Passes the options as variables: an older program rejects unknown options, but ignores unknown variables.
    pub fn by_variables(mut self) -> Self {
        self.by_variables = true;
        self
    }

    /// Writes no log, because writing it would be measured.
    pub fn without_log(mut self) -> Self {
        self.logs = false;
        self
    }

    /// Starts it. Should another process take the port in between, only tests that use the API notice, and those begin with [`Serve::ready`].
    pub fn start(&self) -> Serve {
        let listen = self.listen.unwrap_or_else(free_address);
        let mut options = self.options.clone();
        options.insert("--listen".to_owned(), Some(listen.to_string()));
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(&self.program, &["serve"]);
        command.env("RUST_LOG", "info,tokio_cron_scheduler=warn");
        for (name, value) in options {
            match value {
                Some(value) if self.by_variables => {
                    let name = name.trim_start_matches("--").replace('-', "_").to_uppercase();
                    command.env(format!("PANDA_{name}"), value);
                }
                Some(value) => drop(command.arg(format!("{name}={value}"))),
                None => drop(command.arg(name)),
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).stdout(Stdio::null());
        if self.logs {
            command.stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        } else {
            command.stderr(Stdio::null());
        }
        Serve { child: command.spawn().unwrap(), url: format!("http://{listen}"), listen, dir }
    }

    /// Starts it and waits until it is ready; none when it ended instead.
    pub async fn ready_or_ended(&self) -> Option<Serve> {
        let mut serve = self.start();
        let ready = wait_for("panda serve is ready, or has ended", async || {
            if serve.ended().is_some() { Some(false) } else { serve.is_ready().await.then_some(true) }
        });
        ready.await.then_some(serve)
    }

    /// Starts it and waits until it is ready; tries another port when its port was taken meanwhile.
    pub async fn ready(&self) -> Serve {
        loop {
            if let Some(serve) = self.ready_or_ended().await {
                return serve;
            }
            assert!(self.listen.is_none(), "panda serve has ended");
        }
    }
}

/// A running server; dropping it kills it.
pub struct Serve {
    child: Child,
    /// Base URL of its API.
    pub url: String,
    /// The address on which it listens.
    pub listen: SocketAddr,
    dir: TempDir,
}

impl Serve {
    /// Starts it in `env`.
    pub fn start<P: Program>(env: &Environment<P>, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        ServeBuilder::of(&P::path()).environment(env).flags(flags).variables(variables).start()
    }

    /// Starts it on a database with further flags and variables.
    pub fn on<P: Program>(db: &TestDb<P>, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        ServeBuilder::of(&P::path()).database(db.url()).flags(flags).variables(variables).start()
    }

    /// Answers whether it is ready.
    pub async fn is_ready(&self) -> bool {
        reqwest::get(format!("{}/readyz", self.url)).await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until it answers that it is ready.
    pub async fn ready(&self) {
        wait_for("the server is ready", async || self.is_ready().await).await;
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

    /// The resident memory now.
    pub fn resident_mib(&self) -> f64 {
        usage::resident_mib(self.pid().unsigned_abs())
    }

    /// User and system time so far.
    pub fn cpu_seconds(&self) -> f64 {
        usage::cpu_of(self.pid().unsigned_abs()).map_or(0.0, |cpu| cpu.own)
    }
}
