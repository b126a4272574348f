//! Behaviour common to every path.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, ExternalServices, unreachable_db};
use crate::support::db::TestDb;

#[tokio::test]
async fn problem__unknown_path_and_method() {
    let api = Api::serve(&unreachable_db()).await;
    let problem = api.get("/api/v1/nothing?secret=1").await.problem(404, "ROUTE_NOT_FOUND");
    assert_eq!(problem["instance"], "/api/v1/nothing");
    let answer = Answer::of(api.request(Method::DELETE, "/api/v1/deploy").send().await.unwrap()).await;
    answer.problem(405, "METHOD_NOT_ALLOWED");
    let allowed: Vec<&str> = answer.header("allow").split(',').collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
}

#[tokio::test]
async fn problem__unreadable_body_refused_first() {
    let api = Api::serve(&unreachable_db()).await;
    for path in ["/api/v1/deploy", "/api/v1/connect/github", "/api/v1/connect/aws"] {
        let post = || api.request(Method::POST, path);
        let json = |body: Vec<u8>| post().header("content-type", "application/json").body(body).send();
        Answer::of(json(b"{".to_vec()).await.unwrap()).await.problem(400, "MALFORMED_JSON");
        Answer::of(json(vec![0xff, 0xfe]).await.unwrap()).await.problem(400, "MALFORMED_JSON");
        Answer::of(json(vec![b' '; 64 * 1024 + 1]).await.unwrap()).await.problem(413, "BODY_TOO_LARGE");
        Answer::of(json(vec![b' '; 64 * 1024]).await.unwrap()).await.problem(400, "MALFORMED_JSON");
        for deep in
            [b"[".repeat(60_000), b"{\"a\":".repeat(10_000), [b"{\"owner\":".to_vec(), b"[".repeat(60_000)].concat()]
        {
            let refused = Answer::of(json(deep).await.unwrap()).await;
            assert_eq!(refused.status, 400, "deeply nested: {}", refused.text);
        }
        let plain = post().header("content-type", "text/plain").body("{}").send().await.unwrap();
        let problem = Answer::of(plain).await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
        assert!(problem["detail"].as_str().unwrap().contains("application/json"));
        let unknown = api.post(path, &json!({"surprise": 1})).await;
        assert_eq!(unknown.refused_field("INVALID_FIELD"), "surprise", "{path}");
    }
}

#[tokio::test]
async fn problem__database_unavailable_has_retry_after() {
    let api = Api::serve(&unreachable_db()).await;
    for path in ["/api/v1/connections", "/api/v1/deploy", "/api/v1/deploy/current", "/api/v1/deploy/dep_x/result"] {
        let answer = api.get(path).await;
        answer.problem(503, "DATABASE_UNAVAILABLE");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
        assert!(!answer.text.contains("nobody"), "the address is not revealed: {}", answer.text);
    }
}

#[tokio::test]
async fn request_id__on_every_response() {
    let api = Api::serve(&unreachable_db()).await;
    assert!(uuid::Uuid::parse_str(api.get("/healthz").await.header("x-request-id")).is_ok());
    let with = async |id: &str| {
        let request = api.request(Method::GET, "/healthz").header("x-request-id", id);
        Answer::of(request.send().await.unwrap()).await.header("x-request-id").to_owned()
    };
    assert_eq!(with("trace-7").await, "trace-7");
    for unfit in ["a b\u{1b}[31m".replace('\u{1b}', "\t"), "x".repeat(129)] {
        assert_ne!(with(&unfit).await, unfit);
    }
}

/// The names of all request headers of the OpenAPI document, in lower case.
fn documented_headers(document: &Value) -> BTreeSet<String> {
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let parameters = operations.flat_map(|operation| operation["parameters"].as_array().into_iter().flatten());
    let headers = parameters.filter(|parameter| parameter["in"] == "header");
    let names: BTreeSet<String> = headers.map(|header| header["name"].as_str().unwrap().to_lowercase()).collect();
    assert!(names.contains("traceparent") && names.contains("idempotency-key"), "{names:?}");
    names
}

#[tokio::test]
async fn cors__other_origins_only_by_setting() {
    let db = TestDb::new().await;
    let preflight = async |api: &Api, origin: &str| {
        let request = api.request(Method::OPTIONS, "/api/v1/deploy").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request
            .header("access-control-request-headers", "authorization,content-type,traceparent,tracestate,baggage");
        Answer::of(request.send().await.unwrap()).await
    };
    let closed = Api::serve(&db.db).await;
    assert_eq!(preflight(&closed, "https://panda.example").await.header("access-control-allow-origin"), "");

    let flags = ["--cors-origins=https://panda.example"];
    let open = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    let answer = preflight(&open, "https://panda.example").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "https://panda.example"));
    let allowed: Vec<&str> = answer.header("access-control-allow-headers").split(',').map(str::trim).collect();
    for header in ["authorization", "accept", "content-type", "x-request-id", "traceparent", "tracestate", "baggage"] {
        assert!(allowed.contains(&header), "{header}: {allowed:?}");
    }
    let document = open.get("/api-docs/openapi.json").await.json();
    for header in documented_headers(&document) {
        assert!(allowed.contains(&header.as_str()), "{header} is documented, but a page may not send it: {allowed:?}");
    }
    let paths = document["paths"].as_object().unwrap().values();
    for method in paths.flat_map(|path| path.as_object().unwrap().keys()).map(|method| method.to_uppercase()) {
        assert!(answer.header("access-control-allow-methods").contains(&method), "a page may send {method}");
    }
    assert_eq!(preflight(&open, "https://evil.example").await.header("access-control-allow-origin"), "");
    let request = open.request(Method::GET, "/api/v1/nothing").header("origin", "https://panda.example");
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://panda.example", "errors can be read as well");
}
