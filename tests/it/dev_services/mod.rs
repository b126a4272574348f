//! Dev services: Postgres, registry, engine, git and GitHub as real processes.

mod child_guard;
mod docker;
mod git;
mod github;
mod hello_example;
mod postgres;
pub mod registry;
mod registry_program;
mod run;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use bollard::query_parameters::RemoveImageOptions;
use panda_dev_services::Engine;
use tempfile::TempDir;

use crate::support::wait_for;

/// The shared engine of the test run, or one for this test, with the example's base image.
pub async fn engine() -> (Engine, TempDir) {
    let dir = panda_dev_services::temporary_folder().unwrap();
    let engine = Engine::find_or_start(&dir.path().join("docker")).await.unwrap();
    engine.ensure_base_image("busybox:1").await.unwrap();
    (engine, dir)
}

/// True if a process exists and has not ended.
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which is in parentheses and may contain anything.
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

const VICTIM: &str = "PANDA_TEST_VICTIM_FOLDER";

/// The working folder, in a process that [`Victim::start`] started. The caller then sets up its services, calls [`ready_to_die`], and waits.
pub fn victims_folder() -> Option<PathBuf> {
    std::env::var_os(VICTIM).map(PathBuf::from)
}

/// Never returns: the process is killed while it waits.
pub async fn ready_to_die(folder: &Path) {
    std::fs::write(folder.join("ready"), "").unwrap();
    std::future::pending::<()>().await;
}

/// A second process of this test binary that runs one test and is killed in the middle of it.
pub struct Victim(Child);

impl Victim {
    /// Starts `test` (its full name) in another process, and waits until that calls [`ready_to_die`].
    pub async fn start(test: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = command.args(["--exact", test]).env(VICTIM, folder).stdout(Stdio::null()).spawn().unwrap();
        let victim = Self(child);
        wait_for("the victim is ready", async || folder.join("ready").exists()).await;
        victim
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs one test of this binary to its end in another process with other variables.
pub fn run_in_folder(test: &str, folder: &Path, variables: &[(&str, &str)]) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(VICTIM, folder).envs(variables.iter().copied());
    command.stdout(Stdio::null()).status().unwrap()
}

/// Removes an image, or one of its names, from an engine that outlives the test.
pub async fn forget_image(engine: &Engine, image: &str) {
    engine.docker().remove_image(image, None::<RemoveImageOptions>, None).await.unwrap();
}
