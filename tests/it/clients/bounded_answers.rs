//! Endless answers of each external service are read up to a limit, and are an error then.

use std::time::{Duration, Instant};

use panda::clients::ErrorKind;
use panda::clients::github::{GitHub, GitHubError};
use panda::clients::oidc::{IssuerKeys, KeyLifetimes};
use secrecy::SecretString;

use super::aws;
use crate::support::endless_server::EndlessServer;

const MANY: &[u8] = b"\"and so on\", ";

#[tokio::test]
async fn bounded_answers__endless_github_error_truncated() {
    for status in ["403 No", "500 Oh"] {
        let server = EndlessServer::start(status, "application/json", b"{\"message\": \"", b"and so on ").await;
        let github = GitHub::new(server.url.clone(), Duration::from_secs(30)).unwrap();
        let began = Instant::now();
        let error = github.check("acme", "shop", "main", &SecretString::from("t")).await.unwrap_err();
        let is_expected = match (&error, status) {
            (GitHubError::NoAccess(said), "403 No") => said == "no reason given",
            (GitHubError::Unavailable(error), _) => error.kind == ErrorKind::Unavailable,
            _ => false,
        };
        assert!(is_expected, "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(server.sent() < 16 << 20, "{}", server.sent());
    }
}

#[tokio::test]
async fn bounded_answers__endless_issuer_keys_refused() {
    let server = EndlessServer::start("200 OK", "application/json", b"[", MANY).await;
    let keys = IssuerKeys::new(server.url.as_str(), KeyLifetimes::default()).unwrap();
    let error = keys.key(Some("k")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(server.sent() < 16 << 20, "{}", server.sent());
}

#[tokio::test]
async fn bounded_answers__endless_aws_answer_unavailable() {
    for status in ["200 OK", "400 No", "500 Oh"] {
        let server = EndlessServer::start(status, "application/x-amz-json-1.1", b"{\"a\": [", MANY).await;
        let began = Instant::now();
        let error = aws::at(&server.url).await.controller().sts.caller_identity().await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Invalid), "{status}: {error}");
        assert!(
            began.elapsed() < Duration::from_secs(14),
            "before the call's own limit of time: {:?}",
            began.elapsed()
        );
        // Three tries of 32 MiB, plus data in flight.
        assert!(server.sent() < 150 << 20, "{status}: {}", server.sent());
    }
}
