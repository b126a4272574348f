//! Channels as resources: who may create, see and change which, and what is never shown.

use panda::domain::principal::Role;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

use super::PATH;
use crate::http::Answer;
use crate::http::auth::{Token, serve};
use crate::support::db::TestDb;

fn slack() -> Value {
    json!({"kind": "slack", "secret": "xoxb-very-secret", "slack": {"channel": "C0123456789"}})
}

fn mail() -> Value {
    json!({"kind": "mail", "mail": {"host": "smtp.example.com", "from": "a@example.com", "to": ["b@example.com"]}})
}

#[tokio::test]
async fn channels_api__only_for_admins_and_without_secrets() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    for role in [Role::Viewer, Role::Deployer, Role::Approver] {
        let token = Token::of(&db.db, role).await;
        token.post(&api, PATH, &slack()).await.problem(403, "NOT_ALLOWED");
        token.get(&api, PATH).await.problem(403, "NOT_ALLOWED");
    }
    let admin = Token::of(&db.db, Role::Admin).await;
    let shop = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    shop.post(&api, PATH, &slack()).await.problem(403, "OUT_OF_SCOPE");
    let made = admin.post(&api, PATH, &slack()).await.data("채널이 생성되었습니다.");
    assert_eq!(made["events"], json!(["ready", "completed", "fail"]));
    assert_eq!(made["slack"], json!({"channel": "C0123456789", "apiUrl": "https://slack.com/api"}));
    assert!(!made.to_string().contains("very-secret"));
    let stored = "SELECT t::text FROM receivers t UNION ALL SELECT t::text FROM receiver_secrets t UNION ALL SELECT t::text FROM audit t";
    let rows: Vec<String> = sqlx::query_scalar(stored).fetch_all(&mut db.psql().await).await.unwrap();
    assert!(rows.len() >= 3 && rows.iter().all(|row| !row.contains("very-secret")), "{rows:?}");
    let this = format!("{PATH}/{}", made["channelId"].as_str().unwrap());
    let ask = async |by: &Token, method: Method, path: &str, body: Value| {
        Answer::of(by.request(&api, method, path).json(&body).send().await.unwrap()).await
    };
    for (method, path) in [
        (Method::GET, this.clone()),
        (Method::PUT, this.clone()),
        (Method::DELETE, this.clone()),
        (Method::POST, format!("{this}/test")),
        (Method::GET, format!("{this}/deliveries")),
        (Method::POST, format!("{this}/deliveries/01970000-0000-7000-8000-000000000000/replay")),
    ] {
        let mut body = slack();
        body["repositories"] = json!(["acme/shop"]);
        ask(&shop, method, &path, body).await.problem(404, "CHANNEL_NOT_FOUND");
    }
    // A webhook's endpoints do not reach it.
    let as_webhook = this.replace("channels", "webhooks");
    ask(&admin, Method::DELETE, &as_webhook, json!({})).await.problem(404, "WEBHOOK_NOT_FOUND");

    // The stored secret is sent nowhere else.
    let mut moved = slack();
    moved.as_object_mut().unwrap().remove("secret");
    let kept = ask(&admin, Method::PUT, &this, moved.clone()).await.data("채널이 변경되었습니다.");
    assert_eq!(kept["slack"]["apiUrl"], "https://slack.com/api");
    moved["slack"]["apiUrl"] = json!("https://evil.example/api");
    ask(&admin, Method::PUT, &this, moved.clone()).await.problem(409, "CHANNEL_SECRET_NEEDED");
    moved["secret"] = json!("xoxb-another");
    ask(&admin, Method::PUT, &this, moved).await.data("채널이 변경되었습니다.");
    ask(&admin, Method::PUT, &this, mail()).await.problem(409, "CHANNEL_KIND_FIXED");
    ask(&admin, Method::DELETE, &this, json!({})).await.data("채널이 삭제되었습니다.");
    admin.get(&api, &this).await.problem(404, "CHANNEL_NOT_FOUND");
    let sql = "SELECT action FROM audit WHERE target = $1 AND result = 'done' ORDER BY id";
    let audited: Vec<String> =
        sqlx::query_scalar(sql).bind(made["channelId"].as_str()).fetch_all(&mut db.psql().await).await.unwrap();
    assert_eq!(audited, ["channel.create", "channel.change", "channel.change", "channel.delete"]);
}

#[tokio::test]
async fn channels_api__invalid_fields_are_named() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let quiet = |from: &str, zone: &str| json!({"from": from, "to": "08:00", "timeZone": zone});
    for (field, base, member, value) in [
        ("kind", slack(), "kind", json!("webhook")),
        ("secret", slack(), "secret", Value::Null),
        ("secret", slack(), "secret", json!("very secret")),
        ("slack", slack(), "slack", Value::Null),
        ("mail", slack(), "mail", mail()["mail"].clone()),
        ("slack", mail(), "slack", slack()["slack"].clone()),
        ("slack.channel", slack(), "slack", json!({"channel": "#general"})),
        ("slack.apiUrl", slack(), "slack", json!({"channel": "C0123456789", "apiUrl": "file:///etc/passwd"})),
        ("events", slack(), "events", json!(["finished"])),
        ("repositories", slack(), "repositories", json!(["acme"])),
        ("labels.team", slack(), "labels", json!({"team": " a"})),
        ("language", slack(), "language", json!("fr")),
        ("quietHours", slack(), "quietHours", quiet("25:00", "UTC")),
        ("quietHours", slack(), "quietHours", quiet("22:00", "Seoul")),
        ("mentions", slack(), "mentions", json!({"default": ["!channel"]})),
        ("mail.from", mail(), "mail", json!({"host": "h", "from": "a@x\r\nBcc: b@x", "to": ["b@x.org"]})),
        ("mail.to", mail(), "mail", json!({"host": "h", "from": "a@x.org", "to": []})),
        (
            "mail.security",
            mail(),
            "mail",
            json!({"host": "h", "from": "a@x.org", "to": ["b@x.org"], "security": "ssl"}),
        ),
        ("mail.port", mail(), "mail", json!({"host": "h", "from": "a@x.org", "to": ["b@x.org"], "port": 0})),
        ("mail.host", mail(), "mail", json!({"host": "user@h", "from": "a@x.org", "to": ["b@x.org"]})),
        ("secret", json!({"kind": "teams"}), "secret", json!("ftp://very-secret.example/")),
    ] {
        let mut body = base;
        body[member] = value;
        let problem = admin.post(&api, PATH, &body).await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(!problem.to_string().contains("very"), "{problem}");
    }
    let many = "INSERT INTO receivers (id, settings, lang, key_id, wrapped_key, created_by)
                SELECT 'chn_' || n, '{\"kind\":\"teams\",\"host\":\"h\",\"options\":{}}', 'ko', 'k', '', 'x' FROM generate_series(1, 100) AS n";
    sqlx::query(many).execute(&mut db.psql().await).await.unwrap();
    admin.post(&api, PATH, &slack()).await.problem(409, "TOO_MANY_CHANNELS");
}
