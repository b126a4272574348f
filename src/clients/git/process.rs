//! The fetching process, as its parent sees it: started, fed, read within limits, and killed when nobody waits for it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::limits::ProcessLimits;
use super::wire::{Answer, HOME, LONGEST_ANSWER, RequestOut};
use super::{COMMAND, Fetched, GitError, GitErrorKind, error::OUT_OF_MEMORY};
use crate::bounded;

/// Variables that the process keeps: which proxy, which certificates.
const KEPT: [&str; 10] = [
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

/// Bytes of standard error that are logged.
const LOGGED: u64 = 4 << 10;

/// Lets `program` serve the request inside `folder`. However this ends, the process has ended too; when the future is dropped it is
/// killed.
pub(super) async fn run(
    program: &Path,
    request: &RequestOut<'_>,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Fetched, GitError> {
    let limits = ProcessLimits::of(&request.limits);
    let mut child = Command::new(program)
        .arg(COMMAND)
        .args(limits.arguments())
        .current_dir(folder)
        .env_clear()
        .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(["HOME", "XDG_CONFIG_HOME", "TMPDIR"].map(|name| (name, folder.join(HOME))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for the server, which then stops the fetch itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| GitError::unavailable(format!("the fetching process cannot be started: {error}")))?;
    let result = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(GitError::new(GitErrorKind::Cancelled, "cancelled")),
        result = converse(&mut child, request, &limits) => result,
        () = tokio::time::sleep(request.limits.timeout) => Err(GitError::unavailable("the git server was too slow")),
    };
    // Nothing may write into the folder any more when it is removed.
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "fetching process not killed");
    }
    result
}

async fn converse(child: &mut Child, request: &RequestOut<'_>, limits: &ProcessLimits) -> Result<Fetched, GitError> {
    let failed = |error: std::io::Error| GitError::unavailable(format!("the fetching process cannot be used: {error}"));
    let missing = || GitError::unavailable("the fetching process has no pipes");
    let text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let (stdout, stderr) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    let feed = async {
        // A process that ended early is judged by how it ended.
        let _ = stdin.write_all(&text).await;
        drop(stdin);
    };
    let ((), answer, complaints) = tokio::join!(feed, start_of(stdout, LONGEST_ANSWER), start_of(stderr, LOGGED));
    let status = child.wait().await.map_err(failed)?;
    let complaints = String::from_utf8_lossy(&complaints);
    if !complaints.is_empty() {
        tracing::debug!(stderr = %complaints, "output of the fetching process");
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(fetched)) if status.success() => Ok(fetched),
        Ok(Answer::Error(error)) => Err(error),
        _ => Err(ended(status, limits)),
    }
}

/// The first `most` bytes; the rest is read too, so that the writer is never blocked.
async fn start_of(mut pipe: impl AsyncRead + Unpin, most: u64) -> Vec<u8> {
    let start = bounded::start_of(&mut pipe, most).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    start
}

/// The meaning of an end without an answer.
fn ended(status: ExitStatus, limits: &ProcessLimits) -> GitError {
    match status.signal().and_then(|signal| Signal::try_from(signal).ok()) {
        Some(Signal::SIGXFSZ) => GitError::too_large("a file grew beyond its limit (PANDA_SOURCE_MAX_BYTES)"),
        Some(Signal::SIGXCPU) => {
            let seconds = limits.seconds();
            GitError::too_large(format!("unpacking the repository takes more than {seconds} s of processor time"))
        }
        // Rust's answer to memory that it does not get.
        Some(Signal::SIGABRT) => GitError::too_large(OUT_OF_MEMORY),
        // Not by us: the machine has too little memory.
        Some(Signal::SIGKILL) => GitError::unavailable("the fetching process was killed, perhaps for lack of memory"),
        Some(signal) => GitError::invalid(format!("the fetching process ended with {signal}")),
        None => GitError::unavailable(format!("the fetching process ended without an answer: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_that_ends_the_process_is_named() {
        let limits = ProcessLimits::of(&super::super::GitLimits::default());
        let of = |signal: Signal| ended(ExitStatus::from_raw(signal as i32), &limits);
        assert!(of(Signal::SIGXFSZ).message.contains("PANDA_SOURCE_MAX_BYTES"));
        assert!(of(Signal::SIGXCPU).message.contains("600 s"));
        for signal in [Signal::SIGXFSZ, Signal::SIGXCPU, Signal::SIGABRT] {
            assert_eq!(of(signal).kind, GitErrorKind::TooLarge, "{signal}");
        }
        assert_eq!(of(Signal::SIGKILL).kind, GitErrorKind::Unavailable);
        assert_eq!(of(Signal::SIGSEGV).kind, GitErrorKind::Invalid);
    }
}
