//! The protocol: handshake, list of tools, and the refusals of requests that reach no tool.

use panda::domain::principal::Role;
use panda_testing::hostile::Corpus;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::{acting, answered, headed, message, refused, send};
use crate::http::auth::{Token, serve};
use crate::http::{Answer, Fixture};
use crate::support::db::TestDb;

const READING: [&str; 6] = ["list_deployments", "get_result", "get_events", "search_log", "explain_failure", "report"];

fn hello(version: &str) -> Value {
    let client = json!({"name": "test", "version": "1"});
    message("initialize", &json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client}))
}

#[tokio::test]
async fn mcp__handshake_needs_no_session() {
    let db = TestDb::new().await;
    let (api, other) = (serve(&db.db).await, serve(&db.db).await);
    let viewer = Token::of(&db.db, Role::Viewer).await;
    for version in ["2025-03-26", "2025-06-18"] {
        let request =
            viewer.request(&api, Method::POST, "/mcp?lang=ko").header("accept", "application/json, text/event-stream");
        let answer = Answer::of(request.json(&hello(version)).send().await.unwrap()).await;
        assert_eq!((answer.status, answer.header("content-language")), (200, "ko"), "{}", answer.text);
        let result = answer.json()["result"].clone();
        assert_eq!((&result["protocolVersion"], &result["serverInfo"]["name"]), (&json!(version), &json!("panda")));
        assert!(
            result["capabilities"]["tools"].is_object() && result["instructions"].as_str().unwrap().contains("배포")
        );
    }
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let accepted = headed(viewer.request(&other, Method::POST, "/mcp")).json(&ready).send().await.unwrap();
    assert_eq!(accepted.status(), 202);
    // Another replica answers the next request.
    let page = answered(&other, &viewer, "list_deployments", json!({})).await;
    assert_eq!((&page["data"], &page["next"]), (&json!({"deployments": []}), &Value::Null));
}

#[tokio::test]
async fn mcp__tools_listed_as_server_and_role_permit() {
    let db = TestDb::new().await;
    let (reading, acting) = (serve(&db.db).await, acting(&db).await);
    let names = async |api, role| -> Vec<String> {
        let token = Token::of(&db.db, role).await;
        let listed = send(api, &token, "/mcp", &message("tools/list", &json!({}))).await;
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        for tool in &tools {
            let reads = READING.contains(&tool["name"].as_str().unwrap());
            assert_eq!(tool["annotations"]["readOnlyHint"], reads, "{tool}");
            assert_eq!(
                (&tool["inputSchema"]["type"], &tool["inputSchema"]["additionalProperties"]),
                (&json!("object"), &json!(false))
            );
        }
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&reading, Role::Admin).await, READING);
    assert_eq!(names(&acting, Role::Viewer).await, READING);
    assert_eq!(names(&acting, Role::Deployer).await[6..], ["deploy", "cancel"]);
    assert_eq!(names(&acting, Role::Approver).await[6..], ["deploy", "cancel", "switch"]);
}

#[tokio::test]
async fn mcp__refuses_requests_before_any_tool() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let list = message("tools/list", &json!({}));
    let anonymous = headed(api.request(Method::POST, "/mcp")).json(&list);
    let answer = Answer::of(anonymous.send().await.unwrap()).await;
    answer.problem(401, "NOT_SIGNED_IN");
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
    let send = async |request: reqwest::RequestBuilder| Answer::of(request.send().await.unwrap()).await;
    let post = || headed(viewer.request(&api, Method::POST, "/mcp"));
    for origin in ["https://evil.example", "null"] {
        send(post().header("origin", origin).json(&list)).await.problem(403, "ORIGIN_NOT_ALLOWED");
    }
    let own = format!("http://{}", api.address);
    assert_eq!(send(post().header("origin", own).json(&list)).await.status, 200, "a page of the server");
    send(post().header("host", "evil.example").header("host", "x").json(&list)).await.problem(400, "BAD_HOST");
    let large = message("tools/call", &json!({"name": "search_log", "arguments": {"text": "x".repeat(70_000)}}));
    send(post().json(&large)).await.problem(413, "BODY_TOO_LARGE");
    for method in [Method::GET, Method::DELETE] {
        send(viewer.request(&api, method, "/mcp")).await.problem(405, "METHOD_NOT_ALLOWED");
    }
    for body in ["", "{", "[]", "{\"jsonrpc\": \"2.0\"}", "null"] {
        let answer = send(post().header("content-type", "application/json").body(body)).await;
        assert!((400..500).contains(&answer.status), "{body}: {} {}", answer.status, answer.text);
    }
    let batch = send(post().json(&json!([list, list]))).await;
    assert!((400..500).contains(&batch.status), "{}", batch.text);
    assert_eq!(send(viewer.request(&api, Method::POST, "/mcp").json(&list)).await.status, 406, "no Accept");
    let old = viewer.request(&api, Method::POST, "/mcp").header("accept", "application/json, text/event-stream");
    assert_eq!(send(old.header("mcp-protocol-version", "1999-01-01").json(&list)).await.status, 400);
}

#[tokio::test]
async fn mcp__unknown_tool_and_bad_arguments_are_named() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    let unknown = message("tools/call", &json!({"name": "drop_database", "arguments": {}}));
    let error = send(&api, &viewer, "/mcp", &unknown).await["error"].clone();
    assert_eq!((&error["code"], &error["data"]["errorCode"]), (&json!(-32_602), &json!("MCP_TOOL_NOT_FOUND")));
    assert!(error["message"].as_str().unwrap().contains("drop_database"));
    let id = Fixture::begin(&db.db).await.id().to_owned();
    for (tool, arguments, field) in [
        ("list_deployments", json!({"status": "running"}), "status"),
        ("list_deployments", json!({"limit": 101}), "limit"),
        ("list_deployments", json!({"limit": {"a": 1}}), "limit"),
        ("list_deployments", json!({"everything": true}), "everything"),
        ("list_deployments", json!({"cursor": "!"}), "cursor"),
        ("get_result", json!({}), "deploymentId"),
        ("get_result", json!({"deploymentId": 7}), "deploymentId"),
        ("get_result", json!({"deploymentId": id, "x": 1}), "x"),
        ("get_events", json!({"deploymentId": id, "after": -1}), "after"),
        ("get_events", json!({"deploymentId": id, "limit": 101}), "limit"),
        ("get_events", json!({"deploymentId": id, "limit": 1.5}), "limit"),
        ("search_log", json!({"deploymentId": id}), "text"),
        ("search_log", json!({"deploymentId": id, "text": ""}), "text"),
        ("search_log", json!({"deploymentId": id, "text": "x".repeat(201)}), "text"),
        ("explain_failure", json!({"deploymentId": id, "lines": 0}), "lines"),
        ("report", json!({}), "name"),
        ("report", json!({"name": "dora", "since": "yesterday"}), "since"),
        ("report", json!({"name": "dora", "format": "csv"}), "format"),
        ("report", json!({"name": "dora", "offset": "1"}), "offset"),
    ] {
        let error = refused(&api, &viewer, tool, arguments.clone(), "INVALID_FIELD").await;
        assert_eq!((&error["field"], &error["status"]), (&json!(field), &json!(400)), "{tool} {arguments}");
        assert!(error["type"].as_str().unwrap().ends_with("errors.md#invalid_field"));
    }
    refused(&api, &viewer, "report", json!({"name": "secrets"}), "REPORT_NOT_FOUND").await;
    refused(&api, &viewer, "get_result", json!({"deploymentId": "dep_none"}), "DEPLOYMENT_NOT_FOUND").await;
    refused(&api, &viewer, "get_result", json!({"deploymentId": "a b"}), "DEPLOYMENT_NOT_FOUND").await;
}

#[tokio::test]
async fn mcp__hostile_arguments_fault_nothing() {
    let db = TestDb::new().await;
    let api = super::Api::serve_with(
        &db.db,
        &super::ExternalServices::default(),
        &["--auth=required", "--rate-per-token=0", "--rate-per-client=0", "--mcp-actions"],
    )
    .await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.fail().await;
    for value in Corpus::read().values() {
        for (tool, argument) in [
            ("list_deployments", "owner"),
            ("list_deployments", "branch"),
            ("list_deployments", "cursor"),
            ("get_result", "deploymentId"),
            ("search_log", "text"),
            ("report", "name"),
            ("deploy", "owner"),
            ("switch", "imageDigest"),
            ("cancel", "idempotencyKey"),
            ("get_result", value.as_str()),
            (value.as_str(), "deploymentId"),
        ] {
            let mut arguments = json!({"deploymentId": fixture.id()});
            arguments[argument] = json!(value);
            let call = message("tools/call", &json!({"name": tool, "arguments": arguments}));
            let request = headed(admin.request(&api, Method::POST, "/mcp")).json(&call);
            let answer = Answer::of(request.send().await.unwrap()).await;
            if answer.status != 200 {
                // Larger than a body may be.
                answer.problem(413, "BODY_TOO_LARGE");
                continue;
            }
            let answer = answer.json();
            let code = &answer["result"]["structuredContent"]["error"]["errorCode"];
            assert!(code != "INTERNAL" && code != "DATABASE_FAILED", "{tool} {argument} {value:?}: {answer}");
        }
    }
}
