//! The probe against small real servers.

use std::time::Duration;

use axum::{Router, http::StatusCode, response::Redirect, routing::get};
use panda::clients::probe::{Probe, ProbeResult};
use url::Url;

use super::{nobody, serve};

async fn check(url: &Url) -> ProbeResult {
    Probe::new(Duration::from_millis(500)).unwrap().check(url).await
}

#[tokio::test]
async fn a_service_whose_health_page_answers_is_healthy() {
    let url = serve(Router::new().route("/health", get(|| async { "ok" }))).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.status, result.path, result.error), (true, Some(200), "/health", None));
    assert!(result.latency > Duration::ZERO);
}

#[tokio::test]
async fn a_base_path_is_kept() {
    let url = serve(Router::new().route("/green/health", get(|| async { "ok" }))).await;
    assert!(check(&url.join("green/").unwrap()).await.healthy);
}

#[tokio::test]
async fn a_service_without_a_health_page_is_asked_for_its_root() {
    let url = serve(Router::new().route("/", get(|| async { "hello" }))).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.path), (true, "/"));
}

#[tokio::test]
async fn a_service_that_fails_on_both_paths_is_unhealthy_and_says_why() {
    let url = serve(Router::new().fallback(|| async { StatusCode::INTERNAL_SERVER_ERROR })).await;
    let result = check(&url).await;
    assert_eq!((result.healthy, result.status), (false, Some(500)));
    assert_eq!(result.error.as_deref(), Some("/ answered with status 500"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_not_healthy() {
    let elsewhere = serve(Router::new().fallback(|| async { "ok" })).await;
    let url = serve(Router::new().fallback(move || async move { Redirect::temporary(elsewhere.as_str()) })).await;
    assert_eq!(check(&url).await.status, Some(307));
}

#[tokio::test]
async fn a_service_that_hangs_or_is_not_there_is_unhealthy_within_the_timeout() {
    let hanging = serve(Router::new().fallback(std::future::pending::<()>)).await;
    for url in [hanging, nobody().await] {
        let result = tokio::time::timeout(Duration::from_secs(5), check(&url)).await.unwrap();
        assert_eq!((result.healthy, result.status), (false, None));
        assert!(result.error.is_some());
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let endless = || async {
        let pieces =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b'x'; 1024])));
        axum::body::Body::from_stream(pieces)
    };
    let url = serve(Router::new().route("/health", get(endless))).await;
    assert!(check(&url).await.healthy);
}
