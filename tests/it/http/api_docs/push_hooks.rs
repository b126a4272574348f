//! Errors of push hooks, and of the Apps that GitHub creates.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::Executor;

use super::{DELIVERY, LaterRequest, Provoker, Servers, keyed, too_long};
use crate::http::github_apps::{APPS, BEGUN, EXCHANGE};

pub(super) async fn provoke(p: &mut Provoker, on: &Servers<'_>, push_hook: &Value) -> Vec<LaterRequest> {
    let push_hooks = "/api/v1/hooks";
    let answer = keyed(on.api.request(Method::POST, push_hooks)).json(push_hook).send().await.unwrap();
    let made: Value = answer.json().await.unwrap();
    let mut disabled = push_hook.clone();
    disabled["enabled"] = json!(false);
    p.ask(on.api, Method::POST, push_hooks, push_hooks, |r| keyed(r).json(&disabled)).await;
    let (hook_id, hook_secret) =
        (made["data"]["hook"]["hookId"].as_str().unwrap(), made["data"]["secret"].as_str().unwrap());
    let (one_hook, of_hook) = ("/api/v1/hooks/{id}", format!("/api/v1/hooks/{hook_id}"));
    p.ask(on.api, Method::PUT, one_hook, &of_hook, |r| r.json(&json!({"rules": []}))).await;
    p.ask(on.api, Method::PUT, one_hook, &of_hook, |r| r.body("{}")).await;
    p.ask(on.api, Method::PUT, one_hook, &of_hook, too_long).await;
    p.ask(on.api, Method::PUT, one_hook, "/api/v1/hooks/hok_unknown", |r| r.json(push_hook)).await;
    p.ask(on.unreachable, Method::PUT, one_hook, &of_hook, |r| r.json(push_hook)).await;
    let (hook_rotate, rotate_hook) = ("/api/v1/hooks/{id}/secret", format!("{of_hook}/secret"));
    p.ask(on.api, Method::POST, hook_rotate, &rotate_hook, |r| r.json(&json!({"keepPreviousHours": 169}))).await;
    p.ask(on.api, Method::POST, hook_rotate, &rotate_hook, |r| r.body("{}")).await;
    p.ask(on.api, Method::POST, hook_rotate, &rotate_hook, too_long).await;
    p.ask(on.api, Method::POST, hook_rotate, "/api/v1/hooks/hok_unknown/secret", |r| r.json(&json!({}))).await;
    p.ask(on.unreachable, Method::POST, hook_rotate, &rotate_hook, |r| r.json(&json!({}))).await;
    assert_eq!(keyed(on.api.request(Method::POST, &rotate_hook)).json(&json!({})).send().await.unwrap().status(), 200);
    p.ask(on.api, Method::POST, hook_rotate, &rotate_hook, |r| keyed(r).json(&json!({"keepPreviousHours": 1}))).await;
    assert_eq!(on.api.post(&rotate_hook, &json!({})).await.status, 200);
    p.ask(on.api, Method::POST, hook_rotate, &rotate_hook, |r| r.json(&json!({}))).await;
    let list = format!("{of_hook}/deliveries?decision=x");
    p.ask(on.api, Method::GET, "/api/v1/hooks/{id}/deliveries", &list, |r| r).await;
    let received = receive(p, on, hook_id, hook_secret).await;
    let many = "INSERT INTO push_hooks (id, rules, repositories, enabled, key_id, wrapped_key, made_by, made_by_kind, role)
                SELECT 'hok_' || n, '[]', '{a/b}', false, 'k', '', 'x', 'nobody', 'admin' FROM generate_series(1, 200) AS n";
    on.db.psql().await.execute(many).await.unwrap();
    p.ask(on.api, Method::POST, push_hooks, push_hooks, |r| r.json(push_hook)).await;
    vec![
        LaterRequest::json(Method::PUT, one_hook, &of_hook, push_hook),
        LaterRequest::json(Method::POST, hook_rotate, &rotate_hook, &json!({})),
        received,
    ]
}

fn event(request: RequestBuilder, signed_by: &str) -> RequestBuilder {
    let request = request.header("content-type", "application/json").header("x-github-event", "push");
    let signature = crate::pushes::signature(signed_by, b"{}");
    request.header("x-github-delivery", DELIVERY).header("x-hub-signature-256", signature)
}

/// Deliveries of GitHub, and one that is decided again.
async fn receive(p: &mut Provoker, on: &Servers<'_>, hook_id: &str, hook_secret: &str) -> LaterRequest {
    let (receive, receive_this) = ("/api/v1/hooks/github/{id}", format!("/api/v1/hooks/github/{hook_id}"));
    p.ask(on.api, Method::POST, receive, &receive_this, |r| event(r, "x").body("{}")).await;
    p.ask(on.api, Method::POST, receive, &receive_this, |r| event(r, hook_secret).body("{}")).await;
    p.ask(on.api, Method::POST, receive, &receive_this, |r| r.body("{}")).await;
    p.ask(on.api, Method::POST, receive, "/api/v1/hooks/github/hok_unknown", |r| event(r, "x").body("{}")).await;
    let never = reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    p.ask(on.slow, Method::POST, receive, &receive_this, |r| event(r, "x").body(never)).await;
    let over = reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    p.ask(on.api, Method::POST, receive, &receive_this, |r| {
        event(r, "x").header("content-length", "26214401").body(over)
    })
    .await;
    p.ask(on.unreachable, Method::POST, receive, &receive_this, |r| event(r, "x").body("{}")).await;
    let started =
        "INSERT INTO push_deliveries (hook_id, delivery_id, verified, event, decision, reason_code, reason_text, deployment_id)
                   VALUES ($1, '01970000-0000-7000-8000-000000000001', true, 'push', 'started', 'RULE_MATCHED', '{}', 'dep_1')";
    sqlx::query(started).bind(hook_id).execute(&mut on.db.psql().await).await.unwrap();
    let redeliver = "/api/v1/hooks/{id}/deliveries/{delivery}/redelivery";
    let redeliver_this =
        redeliver.replace("{id}", hook_id).replace("{delivery}", "01970000-0000-7000-8000-000000000001");
    p.ask(on.api, Method::POST, redeliver, &redeliver_this, |r| r).await;
    LaterRequest {
        method: Method::POST,
        path: receive,
        concrete: receive_this,
        fill: Box::new(|r| event(r, "x").body("{}")),
    }
}

pub(super) async fn apps(p: &mut Provoker, on: &Servers<'_>, connect: &str) {
    let (apps, exchange) = (APPS, EXCHANGE);
    p.ask(on.alone, Method::POST, apps, apps, |r| r.json(&json!({}))).await;
    p.ask(on.api, Method::POST, apps, apps, |r| r.json(&json!({"pushHookId": "hok_unknown"}))).await;
    let by_app = json!({"owner": "acme", "repo": "shop", "branch": "main", "app": {"githubAppId": "gha_x", "installationId": 1}});
    p.ask(on.api, Method::POST, connect, connect, |r| r.json(&by_app)).await;
    let begun = on.api.post(apps, &json!({})).await.data(BEGUN);
    let state = begun["address"].as_str().unwrap().rsplit_once('=').unwrap().1;
    let returned = json!({"state": state, "code": "0".repeat(40)});
    p.ask(on.alone, Method::POST, exchange, exchange, |r| r.json(&returned)).await;
    let running = "UPDATE github_apps SET exchange_until = clock_timestamp() + interval '1 hour'";
    on.db.psql().await.execute(running).await.unwrap();
    p.ask(on.api, Method::POST, exchange, exchange, |r| r.json(&returned)).await;
}
