//! Bodies of a sender that is not known yet: forms, malformed ones, and large ones.

use pretty_assertions::assert_eq;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::github::{id, push, signature};
use super::{Hooked, received};
use crate::http::Answer;

#[tokio::test]
async fn push_body__form_and_malformed_payloads() {
    let hooked = Hooked::new().await;
    let hook = &hooked.webhook;
    let payload = push(&id('a'), &id('b')).to_string();
    let form: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload).finish();
    let send = async |event: &str, media_type: &str, body: &str| {
        let mut request = hook.request(event, Uuid::new_v4(), body.as_bytes().to_vec()).build().unwrap();
        request.headers_mut().insert("content-type", media_type.parse().unwrap());
        Answer::of(hook.client.execute(request).await.unwrap()).await
    };
    received(&send("push", "application/x-www-form-urlencoded", &form).await, "RULE_MATCHED");
    received(
        &send("push", "application/json; charset=utf-8", &push(&id('b'), &id('c')).to_string()).await,
        "RULE_MATCHED",
    );
    for (media_type, body) in [
        ("application/x-www-form-urlencoded", "other=1"),
        ("application/x-www-form-urlencoded", &payload),
        ("application/json", &form),
        ("application/json", "{}"),
        ("application/json", "[]"),
        ("application/json", ""),
        ("application/json", "{\"ref\": \"refs/heads/\\u0000\"}"),
    ] {
        send("push", media_type, body).await.problem(400, "PUSH_PAYLOAD_INVALID");
    }
    send("push", "text/plain", &payload).await.problem(415, "PUSH_MEDIA_TYPE");
    assert_eq!(send("no event", "application/json", &payload).await.refused_field("INVALID_FIELD"), "X-GitHub-Event");
    let request =
        hook.client.post(&hook.url).header("content-type", "application/json").header("x-github-event", "push");
    let answer = Answer::of(request.header("x-github-delivery", "1").body("{}").send().await.unwrap()).await;
    assert_eq!(answer.refused_field("INVALID_FIELD"), "X-GitHub-Delivery");
    let rejected = hooked.deliveries().await.into_iter().filter(|one| one["reasonCode"] == "PAYLOAD_INVALID");
    assert_eq!((rejected.count(), hooked.deployments().await), (7, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn push_body__25_megabytes_are_received_and_more_is_not_read() {
    let hooked = Hooked::new().await;
    let mut payload = push(&id('a'), &id('b'));
    let files: Vec<String> = (0..2_900).map(|n| format!("{n}/{}", "x".repeat(200))).collect();
    let mut commits = vec![payload["commits"][0].clone(); 30];
    for commit in &mut commits {
        commit["modified"] = json!(files);
    }
    payload["commits"] = json!(commits);
    let large = payload.to_string();
    assert!((15_000_000..25_000_000).contains(&large.len()), "{}", large.len());
    received(&hooked.webhook.send("push", &payload).await, "RULE_MATCHED");
    let stored: i64 = sqlx::query_scalar("SELECT max(pg_column_size(facts))::bigint FROM push_deliveries")
        .fetch_one(&mut hooked.db.psql().await)
        .await
        .unwrap();
    assert!(stored < 600_000, "{stored}");

    // Answered without the body, of which nothing is sent.
    let over = 25 * 1024 * 1024 + 1;
    let head = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: panda\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nX-GitHub-Event: push\r\n\
             X-GitHub-Delivery: {}\r\nX-Hub-Signature-256: sha256={}\r\n\r\n",
            Uuid::new_v4(),
            "0".repeat(64)
        )
    };
    let path = format!("/api/v1/hooks/github/{}", hooked.id);
    for (path, length, status) in [(path.as_str(), over, "413"), ("/api/v1/hooks/github/hok_none", 1_000, "404")] {
        let mut stream = TcpStream::connect(hooked.api.address).await.unwrap();
        stream.write_all(head(path, length).as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer[9..]).unwrap(), status);
    }
    // One that does not declare its length is stopped at the limit.
    let chunks = (0..30).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024 * 1024]));
    let request = hooked.webhook.unsigned("push", Uuid::new_v4()).header("x-hub-signature-256", signature("x", b""));
    let request = request.body(reqwest::Body::wrap_stream(futures_util::stream::iter(chunks)));
    // The connection may end before the answer is read.
    if let Ok(answer) = request.send().await {
        Answer::of(answer).await.problem(413, "PUSH_PAYLOAD_TOO_LARGE");
    }
    assert_eq!(hooked.deployments().await, 1);
}
