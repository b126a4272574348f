//! Schemathesis, which others wrote, makes requests from the OpenAPI document and holds the answers against it.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use super::Story;
use super::hostile::Target;
use crate::streams_clients::{REMEDY, installed};
use crate::support::SOON;
use crate::support::db::TestDb;

/// No 5xx, and status, type, headers and body are as the document says; other methods are refused, and so is who is not signed in.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,unsupported_method,ignored_auth";

/// And the body is as the document says. It describes a stream as the text that it is, which schemathesis takes for a description of each event.
const ALL_BUT_STREAMS: [&str; 4] = ["--checks", "response_schema_conformance", "--exclude-path-regex", "/events$"];

/// Runs it at `target`, signed in; `id` stands in every path, unless it is to make some up.
async fn run(target: &Target, id: Option<&str>, more: &[&str]) {
    let program = installed().join("bin/schemathesis");
    assert!(program.is_file(), "there is no {}. {REMEDY}", program.display());
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
    // What it remembers of failures stays in the folder.
    command.current_dir(dir.path()).env("HOME", dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(SOON * 4, command.output()).await.expect("it ends").unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains(" passed"),
        "{report}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_answer_that_the_document_does_not_know() {
    let db = TestDb::new().await;
    let (target, _outside) = Target::make(&db).await;
    run(&target, None, &["--checks", CHECKS]).await;
    run(&target, None, &ALL_BUT_STREAMS).await;
    // The same where there is something to be switched, cancelled and read.
    let mut ready = Story::begin_of(&db.db, "acme", "third").await;
    ready.ready().await;
    run(&target, Some(ready.id()), &["--checks", CHECKS, "--include-path-regex", "/deploy/.id"]).await;
    run(&target, Some(ready.id()), &[&ALL_BUT_STREAMS[..], &["--include-path-regex", "/deploy/.id"]].concat()).await;
}
