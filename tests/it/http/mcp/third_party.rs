//! A client of others: the official TypeScript SDK drives a session, as an agent's host would.

use std::process::Stdio;

use panda::domain::principal::Role;
use panda_testing::installed::{REMEDY, installed, program};
use panda_testing::root;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::process::Command;

use super::acting;
use crate::http::Fixture;
use crate::http::auth::Token;
use crate::support::db::TestDb;

#[tokio::test]
async fn mcp__typescript_sdk_drives_a_session() {
    let db = TestDb::new().await;
    let api = acting(&db).await;
    let deployer = Token::of(&db.db, Role::Deployer).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 120).await;
    fixture.fail().await;

    let packages = installed().join("node_modules");
    assert!(packages.join("@modelcontextprotocol/sdk").is_dir(), "{} lacks the SDK. {REMEDY}", packages.display());
    let mut command = Command::new(program(&["node"]));
    command.arg(root().join("crates/testing/readers/mcp.mjs")).arg(packages);
    command.args([&format!("http://{}/mcp", api.address), &deployer.secret, fixture.id()]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["server"], "panda");
    assert_eq!(seen["tools"].as_array().unwrap().len(), 8);
    assert_eq!(seen["listed"], json!([fixture.id()]));
    assert_eq!(seen["status"], "FAILED");
    assert_eq!(seen["cause"], "Docker image build failed: exit code 1");
    assert_eq!(seen["found"].as_array().unwrap().len(), 1);
    assert_eq!(seen["events"].as_i64(), seen["newestSeq"].as_i64(), "read page by page by the arguments of next");
    assert_eq!(seen["report"], "failures");
    assert_eq!(seen["refused"], "NOT_ALLOWED");
    assert_eq!(seen["unknown"], -32_602);
    assert_eq!(seen["anonymous"], 401);
}
