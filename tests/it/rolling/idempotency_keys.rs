//! Idempotency keys across the change of their hashes.

use nix::sys::signal::Signal;
use pretty_assertions::assert_eq;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Pod, Service, before, env_of_previous_version, migrate};
use crate::support::api_client::ApiClient;
use crate::support::environment::{OWNER, TOKEN};

async fn connect(api_client: &ApiClient, key: &str, body: &Value) -> (StatusCode, Value) {
    let request = api_client.http.post(api_client.url("/connect/github")).header("idempotency-key", key).json(body);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update__repeated_key_answered_by_both_versions() {
    let env = env_of_previous_version().await;
    migrate(None, &env).await;
    let service = Service::default();
    let mut old = Pod::start(&env, &service, Some(&before())).await;
    let new = Pod::start(&env, &service, None).await;
    let body = json!({"owner": OWNER, "repo": env.repo, "branch": "main", "token": TOKEN});
    let other = json!({"owner": OWNER, "repo": env.repo, "branch": "main", "token": "ghp_another"});
    let mut psql = env.db.psql().await;
    for (key, first, second) in
        [("old-first", &old.api_client, &new.api_client), ("new-first", &new.api_client, &old.api_client)]
    {
        let made = connect(first, key, &body).await;
        assert_eq!(made.0, StatusCode::OK, "{key}: {}", made.1);
        for api_client in [second, first] {
            assert_eq!(connect(api_client, key, &body).await.1["data"], made.1["data"], "{key}");
            assert_eq!(connect(api_client, key, &other).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{key}");
        }
    }
    old.serve.signal(Signal::SIGTERM);
    old.serve.wait().await;
    for key in ["old-first", "new-first"] {
        assert_eq!(connect(&new.api_client, key, &body).await.0, StatusCode::OK, "{key}, after the update");
    }
    let made = connect(&new.api_client, "alone", &body).await;
    assert_eq!(connect(&new.api_client, "alone", &body).await.1["data"], made.1["data"]);
    let hashes = "SELECT key, request_hash FROM idempotency_keys ORDER BY key";
    let hashes: Vec<(String, Vec<u8>)> = sqlx::query_as(hashes).fetch_all(&mut psql).await.unwrap();
    let [(_, alone), (_, new_first), (_, old_first)] = &hashes[..] else { panic!("{hashes:?}") };
    assert_eq!(new_first, old_first, "a hash that the previous version can compare, as long as it runs");
    assert_ne!(alone, old_first, "a hash that needs the installation's secret");
    let connections = "SELECT count(*) FROM github_connections";
    // The last request renewed the connection that the new version had made: connecting the same branch again adds none.
    assert_eq!(sqlx::query_scalar::<_, i64>(connections).fetch_one(&mut psql).await.unwrap(), 2, "each was made once");
}
