//! Slack: one message per deployment, updated in place, with a thread.

use std::process::Command;

use panda_testing::installed::installed;
use panda_testing::root;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{Chat, Mood, channel, hostile, ready, server, shown, slack, valid};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::wait_for;

/// Checks messages with Slack's own library.
fn valid_by_slack_sdk(bodies: &[Value]) {
    let python = installed().join("bin/python");
    valid(Command::new(python).arg(root().join("tests/it/channels/blocks.py")), bodies);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_slack__one_message_updated_in_place() {
    let db = TestDb::new().await;
    let (chat, dead) = (Chat::start().await, tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let serve = server(&db).ready().await;
    // A server that accepts connections and never answers delays no other channel.
    let mut silent = slack(&chat);
    silent["slack"]["apiUrl"] = json!(format!("http://{}/api", dead.local_addr().unwrap()));
    channel(&serve, &silent).await;
    let mut body = slack(&chat);
    body["mentions"] = json!({"default": ["S0123456789"], "subjects": {"alice": "U0123456789"}});
    let id = channel(&serve, &body).await;

    let mut deployment = hostile(&db).await;
    ready(&mut deployment).await;
    wait_for("the message and its thread", async || chat.replies().len() == 1).await;
    let (root, reply) = (chat.roots()[0].clone(), chat.replies()[0].clone());
    assert_eq!(root.body["blocks"][0]["text"]["text"], "✋ acme/shop · main: awaiting the traffic switch");
    let text = root.body["blocks"].to_string();
    assert!(text.contains("<!subteam^S0123456789> <@U0123456789> The traffic switch awaits"), "{text}");
    assert!(text.contains(&format!("https://panda.example.com/deployments/{}", deployment.id())), "{text}");
    assert!(text.contains("&lt;!channel&gt; &lt;@U0000000000&gt;") && !text.contains("<!channel>"), "{text}");
    assert!(!text.contains('\u{202e}') && !text.contains("\\r"), "{text}");
    assert_eq!(reply.thread.as_deref(), Some(root.id.as_str()));
    assert!(reply.body["text"].as_str().unwrap().contains("ready for manual traffic switch"));

    deployment.complete().await;
    wait_for("the update and its reply", async || chat.replies().len() == 2).await;
    let roots = chat.roots();
    assert_eq!((roots.len(), roots[0].updates), (1, 1));
    let header = &roots[0].body["blocks"][0]["text"]["text"];
    assert_eq!(header, "✅ acme/shop · main: completed");
    assert!(!roots[0].body.to_string().contains("S0123456789"), "no approver is awaited any more");
    let bodies: Vec<Value> = chat.messages().into_iter().map(|one| one.body).chain([root.body]).collect();
    valid_by_slack_sdk(&bodies);
    wait_for("both are committed", async || shown(&serve, &id).await["delivered"] == 2).await;
    let metrics = serve.metrics().await;
    assert!(metrics.contains("panda_receiver_deliveries_total{kind=\"slack\",result=\"delivered\"} 2"));
    assert!(!serve.log().contains(super::TOKEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_slack__longer_limit_is_waited_for_by_every_replica() {
    let db = TestDb::new().await;
    let chat = Chat::start().await;
    let limited = vec![(429, json!({"ok": false, "error": "ratelimited"}))];
    chat.mood(Mood { answers: limited, retry_after: Some(90), ..Mood::default() });
    let first = server(&db).ready().await;
    let id = channel(&first, &slack(&chat)).await;
    Fixture::begin_of(&db.db, "acme", "shop").await.fail().await;
    wait_for("the limit is stored", async || shown(&first, &id).await["pending"] == 1).await;
    let wait = "SELECT extract(epoch FROM next_attempt_at - changed_at)::float8 FROM receiver_deliveries WHERE state = 'pending'";
    let wait: f64 = sqlx::query_scalar(wait).fetch_one(&mut db.psql().await).await.unwrap();
    assert!((89.0..91.0).contains(&wait), "as Slack asked: {wait}");
    drop(first);
    // Another replica delivers what is not limited yet, and leaves the other one until its time.
    let _second = server(&db).ready().await;
    Fixture::begin_of(&db.db, "acme", "toys").await.fail().await;
    wait_for("the other deployment is shown", async || chat.roots().len() == 1).await;
    assert!(chat.roots()[0].body["text"].as_str().unwrap().contains("toys"));
    let over = "UPDATE receiver_deliveries SET next_attempt_at = clock_timestamp() WHERE state = 'pending'";
    sqlx::query(over).execute(&mut db.psql().await).await.unwrap();
    wait_for("the limited one follows", async || chat.roots().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_slack__refusals_limits_and_progress() {
    let db = TestDb::new().await;
    let chat = Chat::start().await;
    let serve = server(&db).ready().await;
    let mut body = slack(&chat);
    body["events"] = json!(["stage", "success", "fail"]);
    let id = channel(&serve, &body).await;
    // A limit is waited for; the other deployment's events wait with it.
    chat.mood(Mood { answers: vec![(429, json!({"ok": false, "error": "ratelimited"}))], ..Mood::default() });
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 30).await;
    wait_for("the limit", async || !chat.requests().is_empty()).await;
    deployment.build_lines(31, 60).await;
    deployment.complete().await;
    wait_for("one message shows the newest state", async || {
        chat.roots().first().is_some_and(|root| root.body["text"].as_str().unwrap().contains("completed"))
    })
    .await;
    wait_for("everything is shown", async || shown(&serve, &id).await["pending"] == 0).await;
    assert!(chat.requests().len() < 20, "61 events are a few requests: {:?}", chat.requests());

    // What Slack will never accept is a dead letter without another attempt; a removed message is replaced.
    chat.mood(Mood { answers: vec![(200, json!({"ok": false, "error": "invalid_blocks"}))], ..Mood::default() });
    let mut other = Fixture::begin_of(&db.db, "acme", "toys").await;
    other.fail().await;
    wait_for("the dead letter", async || shown(&serve, &id).await["dead"] == 1).await;
    chat.mood(Mood { answers: vec![(200, json!({"ok": false, "error": "token_revoked"}))], ..Mood::default() });
    let mut last = Fixture::begin_of(&db.db, "acme", "last").await;
    last.fail().await;
    wait_for("the channel is disabled", async || shown(&serve, &id).await["disabledReason"] == "gone").await;
}

/// Ends the process at a fail point, and lets another one continue; the numbers of messages and replies.
#[cfg(feature = "failpoints")]
async fn crash_at(point: &str, mood: Mood) -> (usize, usize) {
    let db = TestDb::new().await;
    let chat = Chat::start().await;
    let id = {
        let first = server(&db).ready().await;
        channel(&first, &slack(&chat)).await
    };
    chat.mood(mood);
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    let mut crashing = server(&db).variables(&[("FAILPOINTS", &format!("{point}=return"))]).start();
    ready(&mut deployment).await;
    crashing.wait().await;
    assert!(crashing.ended().is_some(), "{point} is reached");
    let next = server(&db).ready().await;
    wait_for("it is committed", async || shown(&next, &id).await["delivered"] == 1).await;
    (chat.roots().len(), chat.replies().len())
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_slack__crash_posts_nothing_twice() {
    // Before the request, after the answer, and after its commit.
    for point in ["receiver delivery/before", "receiver delivery/after", "outbox commit/after"] {
        assert_eq!(crash_at(&format!("replica/{point}"), Mood::default()).await, (1, 1), "{point}");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_slack__crash_without_the_scope_repeats_one_message() {
    let blind = Mood { no_history: true, ..Mood::default() };
    assert_eq!(crash_at("replica/outbox commit/before", blind).await, (2, 2), "as documented");
}
