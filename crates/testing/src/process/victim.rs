//! A test that runs another test of its binary in a second process, and kills it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::wait_for;

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
