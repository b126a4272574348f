//! The health check against small real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::Redirect,
    routing::get,
};
use panda::clients::probe::{Probe, ProbeResult};
use panda::domain::destination::Destinations;
use panda::domain::health_check::{HealthCheck, HealthCheckSpec};
use url::Url;

use super::{serve, unreachable_address};

/// Permits loopback, where the services of these tests are.
async fn check(url: &Url) -> ProbeResult {
    check_with(url, &HealthCheckSpec::default()).await
}

async fn check_with(url: &Url, spec: &HealthCheckSpec) -> ProbeResult {
    let destinations = Destinations::new(vec!["127.0.0.0/8".parse().unwrap()], vec![]);
    Probe::new(Duration::from_millis(500), destinations).unwrap().check(url, &HealthCheck::default().with(spec)).await
}

#[tokio::test]
async fn health_check__health_page_healthy() {
    let url = serve(Router::new().route("/health", get(|| async { "ok" }))).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.status, result.path.as_str(), result.error), (true, Some(200), "/health", None));
    assert!(result.latency > Duration::ZERO);
}

#[tokio::test]
async fn health_check__base_path_kept() {
    let url = serve(Router::new().route("/green/health", get(|| async { "ok" }))).await;
    assert!(check(&url.join("green/").unwrap()).await.healthy);
}

#[tokio::test]
async fn health_check__falls_back_to_root() {
    let url = serve(Router::new().route("/", get(|| async { "hello" }))).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.path.as_str()), (true, "/"));
}

#[tokio::test]
async fn health_check__both_paths_failing_has_reason() {
    let url = serve(Router::new().fallback(|| async { StatusCode::INTERNAL_SERVER_ERROR })).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.status), (false, Some(500)));
    assert_eq!(result.error.as_deref(), Some("/ answered with status 500"));
}

#[tokio::test]
async fn health_check__redirect_accepted_and_not_followed() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let followed = move || async move { seen.fetch_add(1, Ordering::SeqCst).to_string() };
    let elsewhere = serve(Router::new().fallback(followed)).await;
    let url = serve(Router::new().fallback(move || async move { Redirect::temporary(elsewhere.as_str()) })).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.status), (true, Some(307)));
    let strict = HealthCheckSpec { codes: Some("200".to_owned()), ..HealthCheckSpec::default() };
    assert_eq!((check_with(&url, &strict).await.healthy, requests.load(Ordering::SeqCst)), (false, 0));
}

#[tokio::test]
async fn health_check__configured_path_codes_and_host() {
    let page = |headers: HeaderMap, uri: axum::http::Uri| async move {
        let is_shop = headers["host"] == "shop.example.com";
        if is_shop && uri == "/api/live?deep=1" { StatusCode::UNAUTHORIZED } else { StatusCode::NOT_FOUND }
    };
    let url = serve(Router::new().fallback(page)).await;
    let text = |text: &str| Some(text.to_owned());
    let spec = HealthCheckSpec {
        path: text("/api/live?deep=1"),
        codes: text("401"),
        host: text("shop.example.com"),
        ..HealthCheckSpec::default()
    };
    let result = check_with(&url, &spec).await;
    assert_eq!((result.healthy, result.status), (true, Some(401)), "{result:?}");
    for other in [
        HealthCheckSpec { host: None, ..spec.clone() },
        HealthCheckSpec { path: None, ..spec.clone() },
        HealthCheckSpec { codes: None, ..spec.clone() },
    ] {
        assert!(!check_with(&url, &other).await.healthy, "{other:?}");
    }
}

#[tokio::test]
async fn health_check__hanging_or_missing_service_times_out() {
    let hanging = serve(Router::new().fallback(std::future::pending::<()>)).await;
    for url in [hanging, unreachable_address().await] {
        let result = tokio::time::timeout(Duration::from_secs(5), check(&url)).await.unwrap();
        assert_eq!((result.healthy, result.status), (false, None));
        assert!(result.error.is_some());
    }
}

#[tokio::test]
async fn health_check__endless_body_not_read() {
    let endless = || async {
        let pieces =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b'x'; 1024])));
        axum::body::Body::from_stream(pieces)
    };
    let url = serve(Router::new().route("/health", get(endless))).await;
    assert!(check(&url).await.healthy);
}

/// Every notation of a forbidden address that an execution's output could contain.
#[tokio::test]
async fn ssrf_guard__loopback_and_cloud_addresses_refused_in_every_notation() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let service = Router::new().fallback(move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        "ok"
    });
    let port = serve(service).await.port().unwrap();
    let probe = Probe::new(Duration::from_secs(5), Destinations::default()).unwrap();
    for host in include_str!("../hostile_inputs/health_hosts.txt").lines().filter(|line| !line.starts_with('#')) {
        // Text that is not a URL never becomes a request.
        let Ok(url) = Url::parse(&format!("http://{host}:{port}/")) else { continue };
        let result = probe.check(&url, &HealthCheck::default()).await;
        let error = result.error.unwrap_or_default();
        assert!(!result.healthy && error.contains("may not be reached"), "{host}: {error:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn health_check__url_credentials_not_sent() {
    let page = |headers: HeaderMap| async move {
        if headers.contains_key("authorization") { StatusCode::BAD_REQUEST } else { StatusCode::OK }
    };
    let mut url = serve(Router::new().route("/health", get(page))).await;
    url.set_username("admin").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    assert!(check(&url).await.healthy);
}
