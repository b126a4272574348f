//! The gates' requests against small real servers: what is sent, and answers that are slow, endless or elsewhere.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use bytes::Bytes;
use panda::clients::gates::{GateClient, GateSecrets};
use panda::domain::catalogue::Lang;
use panda::domain::destination::Destinations;
use panda::domain::gate::{GateReading, HttpCheck, PrometheusCheck};
use secrecy::SecretString;
use serde_json::json;
use url::Url;

use super::{serve, unreachable_address};

const SECRET: &str = "Bearer pa55word";
const LIMIT: Duration = Duration::from_millis(500);

/// Permits loopback, where the services of these tests are.
fn client() -> GateClient {
    GateClient::new(LIMIT, Destinations::new(vec!["127.0.0.0/8".parse().unwrap()], vec![])).unwrap()
}

fn secrets() -> GateSecrets {
    [("token".to_owned(), SecretString::from(SECRET)), ("broken".to_owned(), SecretString::from("a\nb"))].into()
}

fn http(headers: &serde_json::Value) -> HttpCheck {
    serde_json::from_value(json!({"path": "/state?deep=1", "codes": "200-299", "contains": "fine", "headers": headers}))
        .unwrap()
}

fn prometheus(base: &Url, headers: &serde_json::Value) -> PrometheusCheck {
    serde_json::from_value(json!({"url": base.as_str(), "query": "sum(errors)", "max": 1, "headers": headers})).unwrap()
}

async fn both(base: &Url, headers: &serde_json::Value) -> [GateReading; 2] {
    let (client, secrets) = (client(), secrets());
    let (page, query) = (http(headers), prometheus(base, headers));
    let (page, query) = tokio::join!(client.http(&page, base, &secrets), client.prometheus(&query, &secrets));
    [page, query]
}

fn said(reading: &GateReading) -> String {
    let (GateReading::Passed(_, found)
    | GateReading::Failed(_, found)
    | GateReading::NoData(found)
    | GateReading::Unreadable(found)) = reading;
    found.text(Lang::En)
}

/// A service whose page and metric need the header.
fn guarded() -> Router {
    let permitted = |headers: &HeaderMap| headers.get("authorization").is_some_and(|value| value == SECRET);
    let page = move |headers: HeaderMap| async move {
        if permitted(&headers) { (StatusCode::OK, "all fine") } else { (StatusCode::UNAUTHORIZED, "") }
    };
    let query = move |headers: HeaderMap| async move {
        let value = json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "0"]}]}});
        if permitted(&headers) {
            (StatusCode::OK, value.to_string())
        } else {
            (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned())
        }
    };
    Router::new().route("/state", get(page)).route("/api/v1/query", get(query))
}

#[tokio::test]
async fn gates__headers_come_from_secrets() {
    let base = serve(guarded()).await;
    for reading in both(&base, &json!({"Authorization": "token"})).await {
        assert!(matches!(reading, GateReading::Passed(..)), "{reading:?}");
    }
    let [page, query] = both(&base, &json!({})).await;
    assert!(matches!(page, GateReading::Failed(..)) && said(&page).contains("401"), "{page:?}");
    assert!(matches!(query, GateReading::Unreadable(_)), "a denial says nothing about the metric: {query:?}");
}

#[tokio::test]
async fn gates__unusable_secrets_are_named_and_not_sent() {
    let base = serve(guarded()).await;
    for name in ["missing", "broken"] {
        for reading in both(&base, &json!({"Authorization": name})).await {
            assert!(matches!(reading, GateReading::Unreadable(_)), "{reading:?}");
            let said = said(&reading);
            assert!(said.contains(name) && !said.contains("a\nb"), "{said}");
        }
    }
}

#[tokio::test]
async fn gates__slow_and_endless_answers_end_in_time() {
    let slow = Router::new().fallback(std::future::pending::<()>);
    let dripping = || async {
        let pieces = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        Body::from_stream(pieces)
    };
    let addresses = [serve(slow).await, serve(Router::new().fallback(dripping)).await, unreachable_address().await];
    for base in addresses {
        let began = Instant::now();
        let [page, query] = both(&base, &json!({})).await;
        assert!(matches!(page, GateReading::Failed(None, _)), "no answer is a failure of the service: {page:?}");
        assert!(matches!(query, GateReading::Unreadable(_)), "{query:?}");
        assert!(began.elapsed() < 10 * LIMIT, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn gates__large_answers_are_read_in_part() {
    let endless = || async {
        let beginning = futures_util::stream::iter([Bytes::from_static(b"all fine")]);
        let rest = futures_util::stream::repeat_with(|| Bytes::from(vec![b'x'; 1_024]));
        Body::from_stream(futures_util::StreamExt::map(
            futures_util::StreamExt::chain(beginning, rest),
            Ok::<_, std::io::Error>,
        ))
    };
    let base = serve(Router::new().fallback(endless)).await;
    let [page, query] = both(&base, &json!({})).await;
    assert!(matches!(page, GateReading::Passed(..)), "the text is at the beginning: {page:?}");
    assert!(matches!(query, GateReading::Unreadable(_)), "{query:?}");
}

#[tokio::test]
async fn gates__redirects_and_own_network_are_not_followed() {
    let inner = serve(guarded()).await;
    let to = inner.join("/state").unwrap().to_string();
    let base = serve(Router::new().fallback(move || async move { Redirect::temporary(&to) })).await;
    let [page, query] = both(&base, &json!({"Authorization": "token"})).await;
    assert!(matches!(page, GateReading::Failed(..)) && said(&page).contains("307"), "{page:?}");
    assert!(matches!(query, GateReading::Unreadable(_)), "{query:?}");

    let strict = GateClient::new(LIMIT, Destinations::default()).unwrap();
    let page = strict.http(&http(&json!({"Authorization": "token"})), &inner, &secrets()).await;
    assert!(said(&page).contains("may not be reached"), "{page:?}");
    let query = strict.prometheus(&prometheus(&inner, &json!({"Authorization": "token"})), &secrets()).await;
    assert!(said(&query).contains("may not be reached"), "{query:?}");
}
