//! The documentation's JavaScript for front-end authors runs unchanged.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::program;
use crate::http::{Api, Fixture};
use crate::support::db::TestDb;

/// Globals of a page: an EventSource and a fetch that know its origin, and the deployment's id.
const PAGE: &str = r"
import { EventSource as NodeEventSource } from 'eventsource';
const [origin, id] = process.argv.slice(2);
globalThis.location = new URL(origin);
globalThis.EventSource = class extends NodeEventSource { constructor(url, init) { super(new URL(url, origin), init); } };
const fetched = globalThis.fetch;
globalThis.fetch = (url, init) => fetched(new URL(url, origin), init);
";

/// The blocks of JavaScript of a document.
fn examples(document: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(document)).unwrap();
    text.split("```js\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The output of an example, which ends by itself.
async fn run(example: &str, api: &Api, id: &str) -> Vec<String> {
    let output = run_in_page(example, &format!("http://{}", api.address), id).await;
    assert!(output.status.success(), "{example}\n{}", String::from_utf8_lossy(&output.stderr));
    lines(&output.stdout)
}

pub(super) fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

/// Runs a script as on a page of `origin`.
pub(super) async fn run_in_page(example: &str, origin: &str, id: &str) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let modules = folder.path().join("node_modules");
    std::fs::create_dir_all(modules.join("@panda-deploy")).unwrap();
    symlink(root.join("clients/js"), modules.join("@panda-deploy/events")).unwrap();
    for module in ["eventsource", "eventsource-parser"] {
        symlink(root.join("clients/js/node_modules").join(module), modules.join(module)).unwrap();
    }
    let script = folder.path().join("example.mjs");
    std::fs::write(&script, format!("{PAGE}{example}")).unwrap();
    let mut command = Command::new(program(&["node"]));
    command.arg(script).args([origin, id]).stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap()
}

const LINE: &str = "[Stage 1] Docker 빌드 진행 중: line 1";
const FAILURE: &str = "Docker 이미지 빌드 실패: exit code 1";

#[tokio::test]
async fn streaming_docs__examples_work() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    fixture.fail().await;
    let (page, readme) = (examples("docs/streaming.md"), examples("docs/api.md"));
    let [plain, following, iterating] = page.as_slice() else { panic!("other examples: {page:#?}") };
    let [short, shortest] = readme.as_slice() else { panic!("other examples: {readme:#?}") };
    // Most of their time is the server's and the EventSource's five seconds at the end.
    let (plain, following, iterating, short, shortest) = tokio::join!(
        run(plain, &api, fixture.id()),
        run(following, &api, fixture.id()),
        run(iterating, &api, fixture.id()),
        run(short, &api, fixture.id()),
        run(shortest, &api, fixture.id()),
    );
    let (server, fail) = (format!("stage 1: {LINE}"), format!("fail: {FAILURE}"));
    assert_eq!(plain, [server.as_str(), &fail, "closed"]);
    assert_eq!(following, ["connection: open", &server, &fail, "connection: ended", "end: finished, FAILED"]);
    let english = ["stage: [Stage 1] Docker build in progress: line 1", "fail: Docker image build failed: exit code 1"];
    assert_eq!(iterating, english);
    assert_eq!([short, shortest], [[LINE, FAILURE], [LINE, FAILURE]]);
}
