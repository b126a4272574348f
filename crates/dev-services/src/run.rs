//! Starts all dev services together, and runs a command that uses them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::docker::Engine;
use super::error::DevServicesError;
use super::postgres::{Postgres, PostgresOptions};

/// The dev services that a command needs: Postgres and a Docker engine.
#[derive(Debug)]
pub struct DevServices {
    /// Private Postgres server with the database `panda`.
    pub postgres: Postgres,
    /// The machine's Docker engine, or a private one.
    pub engine: Engine,
}

impl DevServices {
    /// Starts both concurrently, with their files below `dir`.
    ///
    /// See [`PostgresOptions`] for `durable`.
    pub async fn start(dir: &Path, durable: bool) -> Result<Self, DevServicesError> {
        let options = PostgresOptions { data_dir: dir.join("postgres"), durable };
        let engine_dir = dir.join("docker");
        // A failure of one drops the other, whose guard stops it.
        let (postgres, engine) = tokio::try_join!(Postgres::start(options), Engine::find_or_start(&engine_dir))?;
        Ok(Self { postgres, engine })
    }

    /// Stops both. Keeps a private engine's images for the next start.
    pub async fn stop(self) -> Result<(), DevServicesError> {
        let (postgres, engine) = tokio::join!(self.postgres.stop(), self.engine.stop());
        postgres.and(engine)
    }

    /// Stops both, and removes the files of a private engine, which may belong to root.
    pub async fn stop_and_remove(self) -> Result<(), DevServicesError> {
        let (postgres, engine) = tokio::join!(self.postgres.stop(), self.engine.stop_and_remove());
        postgres.and(engine)
    }
}

/// Runs `argv` with the services' addresses in `DATABASE_URL`, `PANDA_DATABASE_URL`, `PANDA_TEST_DATABASE_URL` and `DOCKER_HOST`.
///
/// Passes SIGTERM on to the command instead of ending: the services must run until the command has cleaned up.
pub async fn run_command(services: &DevServices, argv: &[OsString]) -> Result<ExitStatus, DevServicesError> {
    let Some((program, rest)) = argv.split_first() else {
        let problem = "no command given; write it after --, for example: panda parts -- cargo test".to_owned();
        return Err(DevServicesError::Input { field: "command", problem });
    };
    let failed = |source| DevServicesError::Command { program: program.to_string_lossy().into_owned(), source };
    let url = services.postgres.url();
    let url = url.expose_secret();
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut child = Command::new(program)
        .args(rest)
        .envs(["DATABASE_URL", "PANDA_DATABASE_URL", "PANDA_TEST_DATABASE_URL"].map(|name| (name, url)))
        .env("DOCKER_HOST", services.engine.host())
        .spawn()
        .map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(failed),
            // Ignored: a terminal sends Ctrl-C to the command as well.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => pass_on(child.id()),
        }
    }
}

fn pass_on(child: Option<u32>) {
    if let Some(pid) = child.and_then(|pid| i32::try_from(pid).ok()) {
        // Fails when the command has just ended; the caller's loop then sees its exit status.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
