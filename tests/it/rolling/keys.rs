//! Idempotency keys across the change of their hashes.

use nix::sys::signal::Signal;
use pretty_assertions::assert_eq;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Pod, Service, before, migrate, world_of_before};
use crate::support::front::Front;
use crate::support::world::{OWNER, TOKEN};

async fn connect(front: &Front, key: &str, body: &Value) -> (StatusCode, Value) {
    let request = front.http.post(front.url("/connect/github")).header("idempotency-key", key).json(body);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_by_either_version_and_made_by_none() {
    let world = world_of_before().await;
    migrate(None, &world).await;
    let service = Service::default();
    let mut old = Pod::start(&world, &service, Some(&before())).await;
    let new = Pod::start(&world, &service, None).await;
    let body = json!({"owner": OWNER, "repo": world.repo, "branch": "main", "token": TOKEN});
    let other = json!({"owner": OWNER, "repo": world.repo, "branch": "main", "token": "ghp_another"});
    let mut psql = world.db.psql().await;
    for (key, first, second) in [("old-first", &old.front, &new.front), ("new-first", &new.front, &old.front)] {
        let made = connect(first, key, &body).await;
        assert_eq!(made.0, StatusCode::OK, "{key}: {}", made.1);
        for front in [second, first] {
            assert_eq!(connect(front, key, &body).await.1["data"], made.1["data"], "{key}");
            assert_eq!(connect(front, key, &other).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{key}");
        }
    }
    old.serve.signal(Signal::SIGTERM);
    old.serve.wait().await;
    for key in ["old-first", "new-first"] {
        assert_eq!(connect(&new.front, key, &body).await.0, StatusCode::OK, "{key}, after the update");
    }
    let made = connect(&new.front, "alone", &body).await;
    assert_eq!(connect(&new.front, "alone", &body).await.1["data"], made.1["data"]);
    let hashes = "SELECT key, request_hash FROM idempotency_keys ORDER BY key";
    let hashes: Vec<(String, Vec<u8>)> = sqlx::query_as(hashes).fetch_all(&mut psql).await.unwrap();
    let [(_, alone), (_, new_first), (_, old_first)] = &hashes[..] else { panic!("{hashes:?}") };
    assert_eq!(new_first, old_first, "what the version before can compare, as long as it is there");
    assert_ne!(alone, old_first, "what cannot be compared without the installation's secret");
    let connections = "SELECT count(*) FROM github_connections";
    // The last one renewed what the new version had made before: connecting the same branch again adds no connection.
    assert_eq!(sqlx::query_scalar::<_, i64>(connections).fetch_one(&mut psql).await.unwrap(), 2, "each was made once");
}
