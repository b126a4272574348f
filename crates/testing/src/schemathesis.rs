//! Schemathesis, an independent tool that generates requests from an OpenAPI document.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use crate::WAIT_LIMIT;
use crate::answer::Caller;
use crate::installed::{REMEDY, installed};

/// Runs it against the server of `caller`, with its token; `id` fills the path parameter, or Schemathesis makes up values.
pub async fn run(caller: &Caller, id: Option<&str>, more: &[&str]) {
    let program = installed().join("bin/schemathesis");
    assert!(program.is_file(), "{} is missing. {REMEDY}", program.display());
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("schemathesis.toml");
    let text = id.map_or_else(String::new, |id| format!("[parameters]\n\"path.id\" = \"{id}\"\n"));
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("--config-file").arg(config).arg("run").arg(format!("{}/api-docs/openapi.json", caller.base));
    command.arg("--header").arg(format!("Authorization: Bearer {}", caller.token().unwrap_or_default()));
    command.args(["--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color"]);
    command.args(["--continue-on-failure", "--max-examples", "8"]).args(more);
    // Schemathesis keeps its record of failures in this folder.
    command.current_dir(dir.path()).env("HOME", dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(WAIT_LIMIT * 4, command.output()).await.expect("it ends").unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains(" passed"),
        "{report}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
