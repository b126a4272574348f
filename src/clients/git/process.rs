//! Parent side of the fetching process: starts it, sends the request, reads the answer within limits, and kills it when the caller stops waiting.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::limits::ProcessLimits;
use super::wire::{FetchAnswer, HOME, MAX_ANSWER_BYTES, OutgoingRequest};
use super::{COMMAND, Fetched, GitError, GitErrorKind, error::OUT_OF_MEMORY};
use crate::bounded;

/// Environment variables that the process inherits: proxies and certificates.
const INHERITED_VARIABLES: [&str; 10] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Maximum number of bytes of standard error that are logged.
const MAX_LOGGED_BYTES: u64 = 4 << 10;

/// Runs `program` inside `folder` to serve the request. The process has always ended when this returns, and is killed when the future is dropped.
pub(super) async fn run(
    program: &Path,
    request: &OutgoingRequest<'_>,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Fetched, GitError> {
    let limits = ProcessLimits::of(&request.limits);
    let mut child = Command::new(program)
        .arg(COMMAND)
        .args(limits.arguments())
        .current_dir(folder)
        .env_clear()
        .envs(INHERITED_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(["HOME", "XDG_CONFIG_HOME", "TMPDIR"].map(|name| (name, folder.join(HOME))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal must reach the server only, which then stops the fetch itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| GitError::unavailable(format!("the fetching process cannot be started: {error}")))?;
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(GitError::new(GitErrorKind::Cancelled, "cancelled")),
        result = exchange(&mut child, request, &limits) => result,
        () = tokio::time::sleep(request.limits.timeout) => Err(GitError::unavailable("the git server was too slow")),
    };
    // The folder may be removed only after the last writer has ended.
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "fetching process not killed");
    }
    result
}

async fn exchange(
    child: &mut Child,
    request: &OutgoingRequest<'_>,
    limits: &ProcessLimits,
) -> Result<Fetched, GitError> {
    let failed = |error: std::io::Error| GitError::unavailable(format!("the fetching process cannot be used: {error}"));
    let missing = || GitError::unavailable("the fetching process has no pipes");
    let text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let (stdout, stderr) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    let feed = async {
        // A process that ended early is judged by its exit status instead.
        let _ = stdin.write_all(&text).await;
        drop(stdin);
    };
    let ((), answer, complaints) =
        tokio::join!(feed, start_of(stdout, MAX_ANSWER_BYTES), start_of(stderr, MAX_LOGGED_BYTES));
    let status = child.wait().await.map_err(failed)?;
    let complaints = String::from_utf8_lossy(&complaints);
    if !complaints.is_empty() {
        tracing::debug!(stderr = %complaints, "output of the fetching process");
    }
    match serde_json::from_slice(&answer) {
        Ok(FetchAnswer::Ok(fetched)) if status.success() => Ok(fetched),
        Ok(FetchAnswer::Error(error)) => Err(error),
        _ => Err(exit_error(status, limits)),
    }
}

/// Reads the first `most` bytes and discards the rest, so that the writer is never blocked.
async fn start_of(mut pipe: impl AsyncRead + Unpin, max: u64) -> Vec<u8> {
    let start = bounded::start_of(&mut pipe, max).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    start
}

/// Converts the exit status of a process that ended without an answer.
fn exit_error(status: ExitStatus, limits: &ProcessLimits) -> GitError {
    match status.signal().and_then(|signal| Signal::try_from(signal).ok()) {
        Some(Signal::SIGXFSZ) => GitError::too_large("a file grew beyond its limit (PANDA_SOURCE_MAX_BYTES)"),
        Some(Signal::SIGXCPU) => {
            let seconds = limits.seconds();
            GitError::too_large(format!("unpacking the repository takes more than {seconds} s of processor time"))
        }
        // Rust aborts when a memory allocation fails.
        Some(Signal::SIGABRT) => GitError::too_large(OUT_OF_MEMORY),
        // Not killed by this module: the machine ran out of memory.
        Some(Signal::SIGKILL) => GitError::unavailable("the fetching process was killed, possibly for lack of memory"),
        Some(signal) => GitError::invalid(format!("the fetching process ended with {signal}")),
        None => GitError::unavailable(format!("the fetching process ended without an answer: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_exceeded_limit() {
        let limits = ProcessLimits::of(&super::super::GitLimits::default());
        let of = |signal: Signal| exit_error(ExitStatus::from_raw(signal as i32), &limits);
        assert!(of(Signal::SIGXFSZ).message.contains("PANDA_SOURCE_MAX_BYTES"));
        assert!(of(Signal::SIGXCPU).message.contains("600 s"));
        for signal in [Signal::SIGXFSZ, Signal::SIGXCPU, Signal::SIGABRT] {
            assert_eq!(of(signal).kind, GitErrorKind::TooLarge, "{signal}");
        }
        assert_eq!(of(Signal::SIGKILL).kind, GitErrorKind::Unavailable);
        assert_eq!(of(Signal::SIGSEGV).kind, GitErrorKind::Invalid);
    }
}
