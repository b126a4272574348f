use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda_dev_services::DevServicesError;
use panda_dev_services::child_guard::{ChildGuard, Program, RunAs, StopSignal};

use super::{Victim, is_alive, ready_to_die, victims_folder};
use crate::support::{WAIT_LIMIT, wait_for};

const GRACE: Duration = Duration::from_secs(1);

fn program(dir: &Path, script: &str) -> Program {
    Program {
        part: "sleeper",
        executable: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), script.into(), "sleeper".into(), dir.join("pid").into()],
        env: vec![("GREETING", "hello there".to_owned())],
        run_as: RunAs::Us,
        stop_signal: StopSignal::Term,
        grace: GRACE,
        log: dir.join("log"),
        remedy: "Sleep longer.",
    }
}

fn pid_in(dir: &Path) -> Option<i32> {
    std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()
}

async fn started(dir: &Path, script: &str) -> (ChildGuard, i32) {
    let mut leash = program(dir, script).start().unwrap();
    leash.ready(WAIT_LIMIT, async || pid_in(dir).is_some()).await.unwrap();
    (leash, pid_in(dir).unwrap())
}

const SLEEP: &str = "echo $$ > \"$1\"; exec sleep 1000";
const STUBBORN: &str = "trap '' TERM; echo $$ > \"$1\"; while :; do sleep 0.1; done";

#[tokio::test]
async fn child_guard__stopped_program_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (leash, pid) = started(dir.path(), SLEEP).await;
    assert!(is_alive(pid));
    leash.stop().await.unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn child_guard__killed_after_grace_period() {
    let dir = tempfile::tempdir().unwrap();
    let (leash, pid) = started(dir.path(), STUBBORN).await;
    let before = std::time::Instant::now();
    leash.stop().await.unwrap();
    assert!(!is_alive(pid));
    assert!(before.elapsed() >= GRACE);
}

#[tokio::test]
async fn child_guard__program_ends_on_drop() {
    let dir = tempfile::tempdir().unwrap();
    let (leash, pid) = started(dir.path(), SLEEP).await;
    drop(leash);
    wait_for("the program ends", async || !is_alive(pid)).await;
}

#[tokio::test]
async fn child_guard__program_ends_after_parent_sigkill() {
    if let Some(dir) = victims_folder() {
        let _leash = started(&dir, STUBBORN).await;
        ready_to_die(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "dev_services::child_guard::child_guard__program_ends_after_parent_sigkill";
    let victim = Victim::start(name, dir.path()).await;
    let pid = pid_in(dir.path()).unwrap();
    assert!(is_alive(pid));
    victim.kill();
    wait_for("the program ends with its parent", async || !is_alive(pid)).await;
}

#[tokio::test]
async fn child_guard__program_ends_when_shell_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leash, pid) = started(dir.path(), SLEEP).await;
    let shell = i32::try_from(leash.pid().unwrap()).unwrap();
    // The program is the first child; on a busy machine the watcher may start a moment later.
    let children = format!("/proc/{shell}/task/{shell}/children");
    wait_for("the watcher is there", async || {
        std::fs::read_to_string(&children).unwrap().split_whitespace().count() == 2
    })
    .await;
    kill(Pid::from_raw(shell), Signal::SIGKILL).unwrap();
    wait_for("the shell is gone", async || leash.exited().is_some()).await;
    assert!(is_alive(pid));
    drop(leash);
    wait_for("the program ends", async || !is_alive(pid)).await;
}

#[tokio::test]
async fn child_guard__immediate_exit_shows_output_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let mut leash = program(dir.path(), "echo \"$GREETING\"; echo no room >&2; exit 3").start().unwrap();
    let error = leash.ready(WAIT_LIMIT, async || false).await.unwrap_err();
    let DevServicesError::Start { reason, tail, log, .. } = &error else { panic!("{error}") };
    assert_eq!(reason, "it ended (exit status 3)");
    assert_eq!(tail, "hello there\nno room");
    assert_eq!(log, &dir.path().join("log"));
    assert!(error.to_string().contains("Sleep longer."), "{error}");
}

#[tokio::test]
async fn child_guard__readiness_timeout_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leash, _) = started(dir.path(), SLEEP).await;
    let error = leash.ready(Duration::from_secs(1), async || false).await.unwrap_err();
    assert!(error.to_string().contains("not ready within 1 s"), "{error}");
}
