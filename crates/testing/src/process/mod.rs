//! Programs as separate processes.

pub mod command;
pub mod usage;
pub mod victim;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use panda_dev_services::DevServicesError;

const PORT_TRIES: u32 = 5;

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts a program on a free port, and tries again when another process took the port meanwhile.
pub async fn on_free_port<T>(name: &str, mut start: impl AsyncFnMut(SocketAddr) -> Result<T, DevServicesError>) -> T {
    for _ in 0..PORT_TRIES {
        match start(free_address()).await {
            Ok(started) => return started,
            Err(DevServicesError::Start { tail, .. }) if tail.contains("in use") => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{name} found no port in {PORT_TRIES} tries");
}

/// Ids of the processes that work below `folder`; none while it does not exist.
pub fn processes_in(folder: &Path) -> Vec<i32> {
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let works_there =
        |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(works_there).collect()
}

/// True if a process exists and has not ended.
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which is in parentheses and may contain anything.
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

/// Runs a command to its end; it must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
