//! A child process that cannot outlive us, however we die.
//!
//! A part that is left running after a crash holds its port, its folder and its memory until somebody notices. Handlers do not help
//! against `kill -9`, and the kernel's parent-death signal cannot be set without unsafe code. A pipe can do it: the program runs under
//! a small shell that reads from a pipe of which only we hold the other end. The kernel closes that end when we die, the shell sees the
//! end of the file, and ends the program: first politely, then for good.
//!
//! Stopping on purpose is the same path (close the pipe, wait), so what a crash relies on is exercised at every normal end.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::error::PartsError;

/// Fixed text: what to run arrives as arguments and is never interpolated into it.
///
/// The watcher is a process of its own, so it does its work even if the shell that waits for the program was killed. The program gets
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

/// How often a part is asked whether it is ready. Short: starting parts is most of what a test waits for.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// How much of a log goes into an error.
const TAIL_LINES: usize = 15;
const TAIL_BYTES: usize = 4096;

/// Which signal asks a program to end.
#[derive(Clone, Copy, Debug)]
pub enum StopSignal {
    /// What most programs understand as "finish and go".
    Term,
    /// For Postgres, where TERM waits for every client to leave and INT does not.
    Int,
}

/// On whose behalf a program runs.
#[derive(Clone, Copy, Debug)]
pub enum RunAs {
    /// As ourselves.
    Us,
    /// As another user; only root may ask for it.
    User {
        /// The user's id.
        uid: u32,
        /// The user's group.
        gid: u32,
    },
    /// As root through `sudo -n`, for what a normal user may not start.
    Root,
}

/// A program to be started on a leash.
#[derive(Debug)]
pub struct Program {
    /// The part, as errors call it.
    pub part: &'static str,
    /// The executable; an absolute path, since the program runs in `/`.
    pub executable: PathBuf,
    /// Its arguments; paths among them absolute.
    pub args: Vec<OsString>,
    /// Variables set beside those it inherits.
    pub env: Vec<(&'static str, String)>,
    /// Whose rights it has.
    pub run_as: RunAs,
    /// How it is asked to end.
    pub stop_signal: StopSignal,
    /// How long it may take to end before it is killed; whole seconds.
    pub grace: Duration,
    /// Where its output goes; an existing file is replaced.
    pub log: PathBuf,
    /// What a person can do when it does not start.
    pub remedy: &'static str,
}

/// A running program that ends when this value is dropped, or when this process dies in any way.
#[derive(Debug)]
pub struct Leash {
    part: &'static str,
    remedy: &'static str,
    child: Child,
    /// Never written to: that it is open is the message.
    pipe: Option<ChildStdin>,
    grace: Duration,
    log: PathBuf,
}

impl Program {
    /// Starts the program; see [`Leash::ready`] for when it can be used.
    pub fn start(self) -> Result<Leash, PartsError> {
        let log = File::create(&self.log).map_err(PartsError::file(&self.log))?;
        let errors = log.try_clone().map_err(PartsError::file(&self.log))?;
        let mut command = match self.run_as {
            RunAs::Root => {
                // Without a terminal of its own sudo cannot be stopped by job control, and passes the end of our pipe on.
                let mut command = Command::new("setsid");
                command.args(["sudo", "-n"]);
                // sudo drops our environment; what the program needs is set again on its side.
                command.arg("env").args(self.env.iter().map(|(name, value)| format!("{name}={value}")));
                command.arg("sh");
                command
            }
            RunAs::Us | RunAs::User { .. } => {
                let mut command = Command::new("sh");
                // A group of its own: Ctrl-C in a terminal reaches us alone, and we end the parts in the right order.
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
            .args(["-c", SCRIPT, "panda-leash", signal, &self.grace.as_secs().to_string()])
            .arg(&self.executable)
            .args(&self.args)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        let mut child = command.spawn().map_err(|source| PartsError::Command { program: "sh".to_owned(), source })?;
        let pipe = child.stdin.take();
        Ok(Leash { part: self.part, remedy: self.remedy, child, pipe, grace: self.grace, log: self.log })
    }
}

impl Leash {
    /// The process id of the shell that holds the program; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything that the program wrote.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `probe` says yes, at most `limit`. Fails at once when the program has ended.
    pub async fn ready<F>(&mut self, limit: Duration, mut probe: F) -> Result<(), PartsError>
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
            sleep(PROBE_EVERY).await;
        }
    }

    /// How the program ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends the program and waits until it is gone.
    pub async fn stop(mut self) -> Result<(), PartsError> {
        drop(self.pipe.take());
        // The shell kills after `grace`; the rest is for a machine that is slow to run it.
        match timeout(self.grace + Duration::from_secs(10), self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(PartsError::Command { program: self.part.to_owned(), source }),
            Err(_) => Err(self.failure("it did not end when it was told to")),
        }
    }

    /// An error that carries the end of the log.
    pub fn failure(&self, reason: &str) -> PartsError {
        PartsError::Start {
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

/// The last lines of a log; empty when it cannot be read, since the error that it goes into matters more.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let end = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
