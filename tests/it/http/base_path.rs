//! The API below a path, and the metrics at a separate address.

use serde_json::Value;

use super::{Api, ExternalServices, unreachable_db};
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use crate::support::process::free_address;

const BASE: &str = "--base-path=/tools/panda";

#[tokio::test]
async fn base_path__api_served_with_and_without_it() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[BASE]).await;
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/connections"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
        assert_eq!(api.get(&format!("/tools/panda{path}")).await.status, 200, "{path}");
    }
    api.get("/tools/panda/api/v1/nothing").await.problem(404, "ROUTE_NOT_FOUND");
    api.get("/tools/panda2/healthz").await.problem(404, "ROUTE_NOT_FOUND");
    api.get("/tools").await.problem(404, "ROUTE_NOT_FOUND");
}

#[tokio::test]
async fn base_path__documentation_refers_to_it() {
    let api = Api::serve_with(&unreachable_db(), &ExternalServices::default(), &[BASE]).await;
    let document = api.get("/tools/panda/api-docs/openapi.json").await;
    let document: Value = serde_json::from_str(&document.text).unwrap();
    assert_eq!(document["servers"][0]["url"], "/tools/panda");
    let page = api.get("/tools/panda/swagger-ui").await;
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    let script = api.get("/tools/panda/swagger-ui/swagger-initializer.js").await;
    assert!(script.text.contains("/tools/panda/api-docs/openapi.json"), "{}", script.text);
}

#[tokio::test]
async fn http_metrics__api_requests_counted_by_status_and_route() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[BASE]).await;
    assert_eq!(api.get("/tools/panda/api/v1/connections").await.status, 200);
    assert_eq!(api.get("/api/v1/deploy/dep_x/result").await.status, 404);
    assert_eq!(api.get("/nothing").await.status, 404);
    // Probes are no requests to the API.
    assert_eq!(api.get("/readyz").await.status, 200);
    let text = api.get("/metrics").await.text;
    for line in [
        "panda_http_requests_total{status=\"2xx\"} 1",
        "panda_http_requests_total{status=\"4xx\"} 2",
        "panda_http_requests_total{status=\"5xx\"} 0",
        "panda_http_request_seconds_count{route=\"/api/v1/connections\"} 1",
        "panda_http_request_seconds_count{route=\"none\"} 1",
        "panda_http_request_seconds_count{route=\"/api/v1/deploy\"} 0",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in {text}");
    }
    assert!(!text.contains("readyz"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_listen__metrics_at_separate_address_only() {
    let db = TestDb::new().await;
    let metrics = free_address();
    let flags = [format!("--metrics-listen={metrics}")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Panda::builder().on(&db).flags(&flags).process().ready().await;
    let answer = reqwest::get(format!("http://{metrics}/metrics")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("panda_build_info{version="));
    assert_eq!(reqwest::get(format!("http://{metrics}/api/v1/connections")).await.unwrap().status(), 404);
    assert_eq!(reqwest::get(format!("{}/metrics", server.url)).await.unwrap().status(), 404);
    assert_eq!(reqwest::get(format!("{}/healthz", server.url)).await.unwrap().status(), 200);
}
