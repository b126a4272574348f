//! Runs a child process that never outlives this process, even after `kill -9`.
//!
//! A service left running after a crash would keep its port, folder and memory. Signal handlers do not run on `kill -9`, and the kernel's
//! parent-death signal cannot be set without unsafe code. A pipe works: the program runs under a small shell that reads from a pipe
//! whose other end only this process holds. When this process dies, the kernel closes that end, the shell reads the end of the file, and
//! stops the program: first with its stop signal, then with SIGKILL.
//!
//! A deliberate stop takes the same path (close the pipe, wait), so every normal end exercises the crash path.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::error::DevServicesError;

/// Fixed text: the program and its arguments are passed as arguments, never interpolated.
///
/// The watcher is a separate process, so that it works even if the shell that waits for the program was killed. The program inherits
/// neither end of the pipe.
const SCRIPT: &str = r#"
signal=$1
grace=$2
shift 2
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
(
  while read -r _; do :; done <&3
  kill -s "$signal" "$child"
  tenths=$((grace * 10))
  while [ "$tenths" -gt 0 ] && kill -0 "$child"; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  kill -s KILL "$child"
) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill -s KILL "$watcher" 2>/dev/null
exit "$status"
"#;

/// Interval between two readiness probes. Short, because tests spend most of their time waiting for services to start.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// Most lines of a log in an error.
const TAIL_LINES: usize = 15;
const TAIL_BYTES: usize = 4096;

/// Signal that asks a program to end.
#[derive(Clone, Copy, Debug)]
pub enum StopSignal {
    /// SIGTERM, for most programs.
    Term,
    /// SIGINT, for Postgres: there SIGTERM waits until all clients have disconnected.
    Int,
}

/// User that a program runs as.
#[derive(Clone, Copy, Debug)]
pub enum RunAs {
    /// The user of this process.
    Us,
    /// Another user; only root can run programs as one.
    User {
        /// Id of the user.
        uid: u32,
        /// Id of the user's group.
        gid: u32,
    },
    /// Root through `sudo -n`, for programs that need privileges.
    Root,
}

/// A program to start under a guard.
#[derive(Debug)]
pub struct Program {
    /// Name of the service in errors.
    pub part: &'static str,
    /// Absolute path of the executable: the program runs in `/`.
    pub executable: PathBuf,
    /// Arguments; paths must be absolute.
    pub args: Vec<OsString>,
    /// Variables added to the inherited environment.
    pub env: Vec<(&'static str, String)>,
    /// User of the process.
    pub run_as: RunAs,
    /// Signal that asks it to end.
    pub stop_signal: StopSignal,
    /// Time between the stop signal and SIGKILL, in whole seconds.
    pub grace: Duration,
    /// File for its output; an existing one is replaced.
    pub log: PathBuf,
    /// Advice in the error when it does not start.
    pub remedy: &'static str,
}

/// A running program that ends when this value is dropped or this process dies.
#[derive(Debug)]
pub struct ChildGuard {
    part: &'static str,
    remedy: &'static str,
    child: Child,
    /// Never written to: closing it stops the program.
    pipe: Option<ChildStdin>,
    grace: Duration,
    log: PathBuf,
}

impl Program {
    /// Starts the program without waiting for it; see [`ChildGuard::ready`].
    pub fn start(self) -> Result<ChildGuard, DevServicesError> {
        let log = File::create(&self.log).map_err(DevServicesError::file(&self.log))?;
        let errors = log.try_clone().map_err(DevServicesError::file(&self.log))?;
        let mut command = match self.run_as {
            RunAs::Root => {
                // In a session without terminal, job control cannot stop sudo, and sudo passes the pipe on.
                let mut command = Command::new("setsid");
                command.args(["sudo", "-n"]);
                // sudo drops the environment, so `env` sets the program's variables after it.
                command.arg("env").args(self.env.iter().map(|(name, value)| format!("{name}={value}")));
                command.arg("sh");
                command
            }
            RunAs::Us | RunAs::User { .. } => {
                let mut command = Command::new("sh");
                // A separate process group: Ctrl-C in a terminal then reaches only this process, which stops services in order.
                command.process_group(0).envs(self.env.iter().map(|(name, value)| (name, value)));
                command
            }
        };
        if let RunAs::User { uid, gid } = self.run_as {
            command.uid(uid).gid(gid);
        }
        let signal = match self.stop_signal {
            StopSignal::Term => "TERM",
            StopSignal::Int => "INT",
        };
        command
            .args(["-c", SCRIPT, "panda-child-guard", signal, &self.grace.as_secs().to_string()])
            .arg(&self.executable)
            .args(&self.args)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        let mut child =
            command.spawn().map_err(|source| DevServicesError::Command { program: "sh".to_owned(), source })?;
        let pipe = child.stdin.take();
        Ok(ChildGuard { part: self.part, remedy: self.remedy, child, pipe, grace: self.grace, log: self.log })
    }
}

impl ChildGuard {
    /// Process id of the shell around the program; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// File with the program's output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `probe` returns true, for at most `limit`. Fails immediately when the program has ended.
    pub async fn ready<F>(&mut self, limit: Duration, mut probe: F) -> Result<(), DevServicesError>
    where
        F: AsyncFnMut() -> bool,
    {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Err(self.failure(&format!("it ended ({})", describe(status))));
            }
            if timeout(limit, probe()).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.failure(&format!("it was not ready within {} s", limit.as_secs())));
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Exit status of the program, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Stops the program and waits for its end.
    pub async fn stop(mut self) -> Result<(), DevServicesError> {
        drop(self.pipe.take());
        // The shell kills after `grace`; the additional time is for slow machines.
        match timeout(self.grace + Duration::from_secs(10), self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(DevServicesError::Command { program: self.part.to_owned(), source }),
            Err(_) => Err(self.failure("it did not end after the stop signal")),
        }
    }

    /// An error with the last lines of the log.
    pub fn failure(&self, reason: &str) -> DevServicesError {
        DevServicesError::Start {
            part: self.part,
            reason: reason.to_owned(),
            remedy: self.remedy,
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// The last lines of a log. Empty when the log cannot be read: the error that includes it matters more.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let end = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
