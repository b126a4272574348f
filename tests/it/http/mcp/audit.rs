//! Each call of a tool is in the audit, in bounded space, and in the metrics.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{acting, answered, message, refused, send};
use crate::http::auth::Token;
use crate::http::{Fixture, fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

/// Action, target, result, code and number of each row of calls, in order.
async fn calls(db: &TestDb) -> Vec<(String, Option<String>, String, Option<String>, i32)> {
    let sql =
        "SELECT action, target, result, error_code, times FROM audit WHERE action LIKE 'mcp.%' ORDER BY action, id";
    sqlx::query_as(sql).fetch_all(&mut db.psql().await).await.unwrap()
}

#[tokio::test]
async fn mcp_audit__every_call_counted_in_bounded_rows() {
    let db = TestDb::new().await;
    let api = acting(&db).await;
    let (viewer, admin) = (Token::of(&db.db, Role::Viewer).await, Token::of(&db.db, Role::Admin).await);
    let fixture = Fixture::begin(&db.db).await;
    let one = json!({"deploymentId": fixture.id()});
    for _ in 0..5 {
        answered(&api, &viewer, "get_events", one.clone()).await;
    }
    answered(&api, &viewer, "list_deployments", json!({})).await;
    for _ in 0..3 {
        refused(&api, &viewer, "cancel", one.clone(), "NOT_ALLOWED").await;
    }
    send(&api, &viewer, "/mcp", &message("tools/call", &json!({"name": "rm", "arguments": {}}))).await;
    let id = Some(fixture.id().to_owned());
    let row = |action: &str, target: &Option<String>, code: Option<&str>, times| {
        let result = if code.is_some() { "refused" } else { "called" };
        (action.to_owned(), target.clone(), result.to_owned(), code.map(str::to_owned), times)
    };
    let first = [
        row("mcp.cancel", &id, Some("NOT_ALLOWED"), 1),
        row("mcp.get_events", &id, None, 1),
        row("mcp.list_deployments", &None, None, 1),
        row("mcp.unknown_tool", &None, Some("MCP_TOOL_NOT_FOUND"), 1),
    ];
    assert_eq!(calls(&db).await, first, "the first of a kind is written immediately");

    let entries = admin.get(&api, "/api/v1/audit?action=mcp.get_events").await.data("감사 기록 조회 성공");
    let entry = &entries["entries"][0];
    assert_eq!(
        (&entry["subject"], &entry["result"], &entry["repo"]),
        (&json!("viewer-test"), &json!("called"), &json!("shop"))
    );
    let metrics = api.get("/metrics").await.text;
    for line in [
        "panda_mcp_calls_total{tool=\"get_events\",result=\"answered\"} 5",
        "panda_mcp_calls_total{tool=\"cancel\",result=\"refused\"} 3",
        "panda_mcp_calls_total{tool=\"unknown\",result=\"refused\"} 1",
        "panda_mcp_calls_total{tool=\"switch\",result=\"answered\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Shutdown closes the counting window.
    api.shutdown.cancel();
    let repeated = [row("mcp.cancel", &id, Some("NOT_ALLOWED"), 2), row("mcp.get_events", &id, None, 4)];
    wait_for("the others are counted", async || {
        let rows = calls(&db).await;
        rows.len() == 6 && repeated.iter().all(|row| rows.contains(row))
    })
    .await;
}

#[tokio::test]
async fn mcp_audit__change_has_its_row_and_the_call_another() {
    let db = TestDb::new().await;
    let api = acting(&db).await;
    let deployer = Token::of(&db.db, Role::Deployer).await;
    let (github, aws) = fixture::connections(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    answered(&api, &deployer, "deploy", body).await;
    let sql = "SELECT action, result, request_id FROM audit WHERE subject = 'deployer-test' ORDER BY id";
    let rows: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(&mut db.psql().await).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|(action, result, _)| (action.as_str(), result.as_str())).collect();
    assert_eq!(shown, [("deploy", "done"), ("mcp.deploy", "called")]);
    assert_eq!(rows[0].2, rows[1].2, "one request");
}

#[tokio::test]
async fn mcp_audit__old_calls_may_be_deleted() {
    let db = TestDb::new().await;
    let insert = "INSERT INTO audit (at, subject, kind, role, action, result)
                  SELECT now() - d * interval '1 day', 'x', 'token', 'viewer', 'mcp.report', 'called' FROM unnest(ARRAY[100, 1]) d";
    sqlx::query(insert).execute(&mut db.psql().await).await.unwrap();
    let forget = "SELECT forget_refusals(now() - interval '90 days', 1000)";
    sqlx::query(forget).execute(&mut db.psql().await).await.unwrap();
    assert_eq!(calls(&db).await.len(), 1);
    let young: Result<_, Value> =
        sqlx::query("DELETE FROM audit").execute(&mut db.psql().await).await.map_err(|error| json!(error.to_string()));
    assert!(young.unwrap_err().as_str().unwrap().contains("append-only"));
}
