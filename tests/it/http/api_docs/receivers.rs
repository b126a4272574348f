//! Errors of webhooks and channels.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;

use super::{DELIVERY, LaterRequest, Provoker, Servers, keyed, too_long};

/// Inserts a delivery that is tried again, which cannot be replayed.
const PENDING: &str =
    "INSERT INTO receiver_deliveries (receiver_id, event_id, place, deployment_id, seq, state, next_attempt_at)
                       VALUES ($1, $2::uuid, 1, 'dep_1', 1, 'pending', now())";

pub(super) async fn webhooks(p: &mut Provoker, on: &Servers<'_>, webhook: &Value) -> Vec<LaterRequest> {
    let webhooks = "/api/v1/webhooks";
    let answer = keyed(on.api.request(Method::POST, webhooks)).json(webhook).send().await.unwrap();
    let made: Value = answer.json().await.unwrap();
    let another = json!({"url": "https://hooks.example.com/y"});
    p.ask(on.api, Method::POST, webhooks, webhooks, |r| keyed(r).json(&another)).await;
    let webhook_id = made["data"]["webhook"]["webhookId"].as_str().unwrap().to_owned();
    let (hook, this_hook) = ("/api/v1/webhooks/{id}", format!("/api/v1/webhooks/{webhook_id}"));
    p.ask(on.api, Method::PUT, hook, &this_hook, |r| r.json(&json!({"url": "x"}))).await;
    p.ask(on.api, Method::PUT, hook, &this_hook, |r| r.body("{}")).await;
    p.ask(on.api, Method::PUT, hook, &this_hook, too_long).await;
    p.ask(on.api, Method::PUT, hook, "/api/v1/webhooks/whk_unknown", |r| r.json(webhook)).await;
    p.ask(on.unreachable, Method::PUT, hook, &this_hook, |r| r.json(webhook)).await;
    let (rotate, rotate_this) = ("/api/v1/webhooks/{id}/secret", format!("{this_hook}/secret"));
    p.ask(on.api, Method::POST, rotate, &rotate_this, |r| r.json(&json!({"keepPreviousHours": 169}))).await;
    p.ask(on.api, Method::POST, rotate, &rotate_this, |r| r.body("{}")).await;
    p.ask(on.api, Method::POST, rotate, &rotate_this, too_long).await;
    p.ask(on.api, Method::POST, rotate, "/api/v1/webhooks/whk_unknown/secret", |r| r.json(&json!({}))).await;
    p.ask(on.unreachable, Method::POST, rotate, &rotate_this, |r| r.json(&json!({}))).await;
    assert_eq!(keyed(on.api.request(Method::POST, &rotate_this)).json(&json!({})).send().await.unwrap().status(), 200);
    let other_hours = json!({"keepPreviousHours": 1});
    p.ask(on.api, Method::POST, rotate, &rotate_this, |r| keyed(r).json(&other_hours)).await;
    assert_eq!(on.api.post(&rotate_this, &json!({})).await.status, 200);
    p.ask(on.api, Method::POST, rotate, &rotate_this, |r| r.json(&json!({}))).await;
    let list = format!("{this_hook}/deliveries?limit=0");
    p.ask(on.api, Method::GET, "/api/v1/webhooks/{id}/deliveries", &list, |r| r).await;
    sqlx::query(PENDING).bind(&webhook_id).bind(DELIVERY).execute(&mut on.db.psql().await).await.unwrap();
    let replay = "/api/v1/webhooks/{id}/deliveries/{delivery}/replay";
    let replay_this = replay.replace("{id}", &webhook_id).replace("{delivery}", DELIVERY);
    p.ask(on.api, Method::POST, replay, &replay_this, |r| r).await;
    let many = "INSERT INTO receivers (id, settings, lang, key_id, wrapped_key, created_by)
                SELECT 'whk_' || n, '{\"kind\":\"webhook\",\"url\":\"https://hooks.example.com/\"}', 'ko', 'k', '', 'x' FROM generate_series(1, 100) AS n";
    on.db.psql().await.execute(many).await.unwrap();
    p.ask(on.api, Method::POST, webhooks, webhooks, |r| r.json(webhook)).await;
    vec![
        LaterRequest::json(Method::PUT, hook, &this_hook, webhook),
        LaterRequest::json(Method::POST, rotate, &rotate_this, &json!({})),
    ]
}

pub(super) async fn channels(p: &mut Provoker, on: &Servers<'_>, channel: &Value) -> Vec<LaterRequest> {
    let channels = "/api/v1/channels";
    let answer = keyed(on.api.request(Method::POST, channels)).json(channel).send().await.unwrap();
    let made: Value = answer.json().await.unwrap();
    let another = json!({"kind": "slack", "secret": "xoxb-y", "slack": {"channel": "C0123456789"}});
    p.ask(on.api, Method::POST, channels, channels, |r| keyed(r).json(&another)).await;
    let channel_id = made["data"]["channelId"].as_str().unwrap().to_owned();
    let (one_channel, this_channel) = ("/api/v1/channels/{id}", format!("/api/v1/channels/{channel_id}"));
    p.ask(on.api, Method::PUT, one_channel, &this_channel, |r| r.json(&json!({"kind": "x"}))).await;
    p.ask(on.api, Method::PUT, one_channel, &this_channel, |r| r.body("{}")).await;
    p.ask(on.api, Method::PUT, one_channel, &this_channel, too_long).await;
    p.ask(on.api, Method::PUT, one_channel, "/api/v1/channels/chn_unknown", |r| r.json(channel)).await;
    p.ask(on.unreachable, Method::PUT, one_channel, &this_channel, |r| r.json(channel)).await;
    let of_teams = json!({"kind": "teams", "secret": "https://teams.example/x"});
    p.ask(on.api, Method::PUT, one_channel, &this_channel, |r| r.json(&of_teams)).await;
    let mut moved = channel.clone();
    moved["slack"]["apiUrl"] = json!("https://slack-gov.com/api");
    moved.as_object_mut().unwrap().remove("secret");
    p.ask(on.api, Method::PUT, one_channel, &this_channel, |r| r.json(&moved)).await;
    let list = format!("{this_channel}/deliveries?limit=0");
    p.ask(on.api, Method::GET, "/api/v1/channels/{id}/deliveries", &list, |r| r).await;
    sqlx::query(PENDING).bind(&channel_id).bind(DELIVERY).execute(&mut on.db.psql().await).await.unwrap();
    let replay = "/api/v1/channels/{id}/deliveries/{delivery}/replay";
    let replay_this = replay.replace("{id}", &channel_id).replace("{delivery}", DELIVERY);
    p.ask(on.api, Method::POST, replay, &replay_this, |r| r).await;
    let many = "INSERT INTO receivers (id, settings, lang, key_id, wrapped_key, created_by)
                SELECT 'chn_' || n, '{\"kind\":\"teams\",\"host\":\"h\",\"options\":{}}', 'ko', 'k', '', 'x' FROM generate_series(1, 100) AS n";
    on.db.psql().await.execute(many).await.unwrap();
    p.ask(on.api, Method::POST, channels, channels, |r| r.json(channel)).await;
    vec![LaterRequest::json(Method::PUT, one_channel, &this_channel, channel)]
}
