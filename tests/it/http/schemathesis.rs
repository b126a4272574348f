//! Schemathesis, an independent tool, generates requests from the OpenAPI document and checks the answers against it.

use super::Fixture;
use super::hostile_input::Target;
use crate::support::db::TestDb;
use panda_testing::schemathesis::run;

/// Checks: no 5xx; status, type, headers and body as documented; other methods and unauthenticated callers refused.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,unsupported_method,ignored_auth";

/// The body check, for all operations but streams: the document describes a stream as text, which Schemathesis takes for the description of one
/// event.
const ALL_BUT_STREAMS: [&str; 4] = ["--checks", "response_schema_conformance", "--exclude-path-regex", "/events$"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis__finds_no_undocumented_answer() {
    let db = TestDb::new().await;
    let (target, _external) = Box::pin(Target::make(&db)).await;
    run(&target.api.signed_in(&target.token.secret), None, &["--checks", CHECKS]).await;
    run(&target.api.signed_in(&target.token.secret), None, &ALL_BUT_STREAMS).await;
    // The same where a deployment can be switched, cancelled and read. Its stream is left out: once the switch is requested, it lasts until the end.
    let mut ready = Fixture::begin_of(&db.db, "acme", "third").await;
    ready.ready().await;
    run(
        &target.api.signed_in(&target.token.secret),
        Some(ready.id()),
        &["--checks", CHECKS, "--include-path-regex", "/deploy/.id", "--exclude-path-regex", "/events$"],
    )
    .await;
    run(
        &target.api.signed_in(&target.token.secret),
        Some(ready.id()),
        &[&ALL_BUT_STREAMS[..], &["--include-path-regex", "/deploy/.id"]].concat(),
    )
    .await;
}
