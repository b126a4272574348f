//! The parts that the program and its tests need, together, and a command that runs among them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::docker::Engine;
use super::error::PartsError;
use super::postgres::{Postgres, PostgresOptions};

/// Postgres and a Docker engine.
#[derive(Debug)]
pub struct Parts {
    /// The database server.
    pub postgres: Postgres,
    /// The engine: the machine's own, or a private one.
    pub engine: Engine,
}

impl Parts {
    /// Starts both below `dir`, at the same time.
    ///
    /// `durable` as in [`PostgresOptions`].
    pub async fn start(dir: &Path, durable: bool) -> Result<Self, PartsError> {
        let options = PostgresOptions { data_dir: dir.join("postgres"), durable };
        let engine_dir = dir.join("docker");
        // One that fails drops the other, whose leash then ends it.
        let (postgres, engine) = tokio::try_join!(Postgres::start(options), Engine::find_or_start(&engine_dir))?;
        Ok(Self { postgres, engine })
    }

    /// Ends both; a private engine's images stay for the next start.
    pub async fn stop(self) -> Result<(), PartsError> {
        let (postgres, engine) = tokio::join!(self.postgres.stop(), self.engine.stop());
        postgres.and(engine)
    }

    /// Ends both, and removes what a private engine wrote, which may belong to root.
    pub async fn stop_and_remove(self) -> Result<(), PartsError> {
        let (postgres, engine) = tokio::join!(self.postgres.stop(), self.engine.stop_and_remove());
        postgres.and(engine)
    }
}

/// Runs `argv` with the parts' addresses in `DATABASE_URL`, `PANDA_DATABASE_URL`, `PANDA_TEST_DATABASE_URL` and `DOCKER_HOST`.
///
/// Signals that would end us end the command instead: the parts are needed until it has cleaned up.
pub async fn run_command(parts: &Parts, argv: &[OsString]) -> Result<ExitStatus, PartsError> {
    let Some((program, rest)) = argv.split_first() else {
        let problem = "no command given; write it after --, as in: panda parts -- cargo test".to_owned();
        return Err(PartsError::Input { field: "command", problem });
    };
    let failed = |source| PartsError::Command { program: program.to_string_lossy().into_owned(), source };
    let url = parts.postgres.url();
    let url = url.expose_secret();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut child = Command::new(program)
        .args(rest)
        .envs(["DATABASE_URL", "PANDA_DATABASE_URL", "PANDA_TEST_DATABASE_URL"].map(|name| (name, url)))
        .env("DOCKER_HOST", parts.engine.host())
        .spawn()
        .map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(failed),
            // A terminal sends its Ctrl-C to the command as well.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => pass_on(child.id()),
        }
    }
}

fn pass_on(child: Option<u32>) {
    if let Some(pid) = child.and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended in between, which the next turn of the loop sees.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
