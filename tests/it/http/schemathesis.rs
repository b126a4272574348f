//! Schemathesis, an independent tool, generates requests from the OpenAPI document and checks the answers against it.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use super::Fixture;
use super::hostile_input::Target;
use crate::streams_clients::{REMEDY, installed};
use crate::support::WAIT_LIMIT;
use crate::support::db::TestDb;

/// Checks: no 5xx; status, type, headers and body as documented; other methods and unauthenticated callers refused.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,unsupported_method,ignored_auth";

/// The body check, for all operations but streams: the document describes a stream as text, which Schemathesis takes for the description of one
/// event.
const ALL_BUT_STREAMS: [&str; 4] = ["--checks", "response_schema_conformance", "--exclude-path-regex", "/events$"];

/// Runs it against `target`, signed in; `id` fills the path parameter, or Schemathesis makes up values.
async fn run(target: &Target, id: Option<&str>, more: &[&str]) {
    let program = installed().join("bin/schemathesis");
    assert!(program.is_file(), "{} is missing. {REMEDY}", program.display());
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("schemathesis.toml");
    let text = id.map_or_else(String::new, |id| format!("[parameters]\n\"path.id\" = \"{id}\"\n"));
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(config)
        .arg("run")
        .arg(format!("http://{}/api-docs/openapi.json", target.api.address));
    command.arg("--header").arg(format!("Authorization: Bearer {}", target.token.secret));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis__finds_no_undocumented_answer() {
    let db = TestDb::new().await;
    let (target, _external) = Target::make(&db).await;
    run(&target, None, &["--checks", CHECKS]).await;
    run(&target, None, &ALL_BUT_STREAMS).await;
    // The same where a deployment can be switched, cancelled and read.
    let mut ready = Fixture::begin_of(&db.db, "acme", "third").await;
    ready.ready().await;
    run(&target, Some(ready.id()), &["--checks", CHECKS, "--include-path-regex", "/deploy/.id"]).await;
    run(&target, Some(ready.id()), &[&ALL_BUT_STREAMS[..], &["--include-path-regex", "/deploy/.id"]].concat()).await;
}
