//! The program as a user or a script runs it.

mod client;
mod connect;
mod demo;
mod log;
mod maintenance;
mod migrate;
mod newer_schema;
mod report;
mod schedule;
mod terminal;
mod token;
mod watch;

use std::net::TcpListener;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::support::db::{KEY_FILE, TestDb};
use crate::support::wait_for;

/// Output and exit status of a command.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program without the environment of the test run.
pub(crate) fn panda(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panda"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PANDA_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `panda serve` as a separate process on a separate database.
struct Server {
    child: Child,
    url: String,
    listen: String,
}

impl Server {
    /// Starts it on a free port, and tries another when the port is taken meanwhile.
    async fn start(db: &TestDb, args: &[&str]) -> Self {
        loop {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            if let Some(server) = Self::start_at(db, &address, args).await {
                return server;
            }
        }
    }

    /// Starts it at an address; `None` when it ended instead.
    async fn start_at(db: &TestDb, listen: &str, args: &[&str]) -> Option<Self> {
        let mut command = panda(&["serve", "--listen", listen]);
        command
            .args(args)
            .env("PANDA_DATABASE_URL", db.url())
            .env("PANDA_KEY_FILE", KEY_FILE)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let url = format!("http://{listen}");
        let ready = wait_for("panda serve is ready, or has ended", async || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let answer = reqwest::get(format!("{url}/readyz")).await.ok()?;
            answer.status().is_success().then_some(true)
        });
        ready.await.then_some(Self { child, url: format!("http://{listen}"), listen: listen.to_owned() })
    }

    /// Kills it with SIGKILL and returns its address.
    async fn kill(mut self) -> String {
        self.child.kill().await.unwrap();
        self.listen
    }
}
