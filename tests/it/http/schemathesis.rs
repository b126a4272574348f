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
    run(&target.api.signed_in(&target.token.secret), None, &ALL_BUT_STREAMS).await;
    let mut ready = Fixture::begin_of(&db.db, "acme", "third").await;
    ready.ready().await;
    // Streams that end, each after five seconds: of a deployment that has failed, and of one that awaits its switch. Once that is requested, its stream
    // lasts until the end, so the next run leaves streams out.
    let caller = target.api.signed_in(&target.token.secret);
    let streams =
        ["--include-path-regex", "/deploy/.id./events$", "--phases", "examples,fuzzing", "--max-examples", "3"];
    let streams = [&["--checks", CHECKS][..], &streams].concat();
    tokio::join!(
        run(&caller, None, &["--checks", CHECKS]),
        run(&caller, Some(&target.id), &streams),
        run(&caller, Some(ready.id()), &streams),
    );
    // The same where a deployment can be switched, cancelled and read.
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
