//! `POST /mcp`: the tools for agents, over the wire.

mod acts;
mod audit;
mod protocol;
mod reads;
mod third_party;

use pretty_assertions::assert_eq;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::auth::Token;
use super::{Answer, Api, ExternalServices};
use crate::support::db::TestDb;

/// An API that requires authentication, and permits agents to act.
async fn acting(db: &TestDb) -> Api {
    let flags = ["--auth=required", "--mcp-actions"];
    Api::serve_with(&db.db, &ExternalServices::default(), &flags).await
}

/// A request with the headers of a client of the protocol.
fn headed(request: RequestBuilder) -> RequestBuilder {
    request.header("accept", "application/json, text/event-stream").header("mcp-protocol-version", "2025-06-18")
}

fn message(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

/// Sends a message to `path`, and returns the answer's.
async fn send(api: &Api, token: &Token, path: &str, message: &Value) -> Value {
    let request = headed(token.request(api, Method::POST, path)).json(message);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text);
    assert_eq!(answer.header("mcp-session-id"), "", "no session");
    answer.json()
}

/// Calls a tool, and returns the result.
async fn result(api: &Api, token: &Token, tool: &str, arguments: Value) -> Value {
    let call = message("tools/call", &json!({"name": tool, "arguments": arguments}));
    send(api, token, "/mcp", &call).await["result"].clone()
}

/// Calls a tool that answers, and returns the structured answer.
async fn answered(api: &Api, token: &Token, tool: &str, arguments: Value) -> Value {
    let result = result(api, token, tool, arguments).await;
    assert_eq!(result["isError"], false, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), result["structuredContent"], "both forms are one answer");
    result["structuredContent"].clone()
}

/// Calls a tool that is refused with a code, and returns the error.
async fn refused(api: &Api, token: &Token, tool: &str, arguments: Value, code: &str) -> Value {
    let result = result(api, token, tool, arguments).await;
    assert_eq!(
        (&result["isError"], &result["structuredContent"]["error"]["errorCode"]),
        (&json!(true), &json!(code)),
        "{result}"
    );
    result["structuredContent"]["error"].clone()
}
