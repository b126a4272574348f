//! The exchange of a manifest's code: as GitHub describes it, and with answers that cannot be used.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::post;
use axum::{Json, Router};
use panda::clients::github::{GitHub, GitHubError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::super::serve;
use super::deployments::Recorder;
use crate::http::external_services::github;
use crate::http::github_apps::create_at;

#[tokio::test]
async fn github_manifest__code_is_exchanged_once_as_github_describes_it() {
    let (sandbox, _root) = github().await;
    let (recorder, api) = Recorder::of(&sandbox).await;
    let client = GitHub::new(api, Duration::from_secs(5)).unwrap();
    let site = panda::domain::app_manifest::ManifestSite {
        github: sandbox.git_url().parse().unwrap(),
        public: Some("https://panda.example/".parse().unwrap()),
    };
    let public = site.public.as_ref().unwrap();
    let path = Some("/api/v1/hooks/github/hok_1");
    let manifest = panda::domain::app_manifest::AppManifest { id: "gha_1", name: "Panda", public, payload_path: path };
    let begun = json!({"address": site.address(Some("acme"), "s").as_str(), "manifest": manifest.to_json()});
    let code = SecretString::from(create_at(&sandbox, &begun).await["code"].as_str().unwrap());
    let app = client.exchange_manifest_code(&code).await.unwrap();
    assert_eq!((app.app_id.as_str(), app.name.as_str()), ("1000", "Panda"));
    assert!(
        app.private_key.expose_secret().starts_with("-----BEGIN RSA PRIVATE KEY-----") && app.webhook_secret.is_some()
    );
    assert!(site.is_github(&app.address) && !format!("{app:?}").contains("BEGIN"));
    let again = client.exchange_manifest_code(&code).await.unwrap_err();
    assert!(matches!(&again, GitHubError::ManifestCodeRefused(reason) if reason == "Not Found"), "{again}");
    recorder.assert_described();
}

#[tokio::test]
async fn github_manifest__hostile_answers_are_bounded_and_repeat_no_secret() {
    let code = "c0ffee0123456789c0ffee0123456789c0ffee01";
    let app = json!({"id": 1, "name": "P", "html_url": "https://github.com/apps/p", "pem": "-----BEGIN"});
    let changed = |name: &str, value| {
        let mut changed = app.clone();
        changed[name] = value;
        changed
    };
    let answers = [
        (StatusCode::CREATED, changed("id", json!("x"))),
        (StatusCode::CREATED, changed("name", json!(""))),
        (StatusCode::CREATED, changed("html_url", json!("x"))),
        (StatusCode::CREATED, changed("pem", json!(null))),
        (StatusCode::CREATED, changed("name", json!("x".repeat(300 << 10)))),
        (StatusCode::BAD_GATEWAY, json!({"message": format!("no {code}")})),
        (StatusCode::MOVED_PERMANENTLY, json!({})),
    ];
    for (status, answer) in answers {
        let routes = Router::new().route(
            "/app-manifests/{code}/conversions",
            post(move || std::future::ready((status, Json(answer.clone())).into_response())),
        );
        let client = GitHub::new(serve(routes).await, Duration::from_secs(5)).unwrap();
        let error = client.exchange_manifest_code(&SecretString::from(code)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(code), "{status}: {error}");
        assert!(
            matches!(error, GitHubError::Unavailable(_) | GitHubError::ManifestCodeRefused(_)),
            "{status}: {error}"
        );
    }
    let never = Router::new().fallback(std::future::pending::<StatusCode>);
    let client = GitHub::new(serve(never).await, Duration::from_millis(100)).unwrap();
    let error = client.exchange_manifest_code(&SecretString::from(code)).await.unwrap_err();
    assert!(matches!(error, GitHubError::Unavailable(_)) && !format!("{error:?}").contains(code));
}
