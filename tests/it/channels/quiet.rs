//! Quiet hours: events wait, but for exceptions; afterwards the newest state is sent.

use chrono::{TimeDelta, Utc};
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::json;

use super::{Chat, PATH, caller, channel, ready, server, shown, slack};
use crate::http::{Answer, Fixture};
use crate::support::db::TestDb;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_quiet__newest_state_after_the_end() {
    let db = TestDb::new().await;
    let chat = Chat::start().await;
    let serve = server(&db).ready().await;
    let clock = |hours| (Utc::now() + TimeDelta::hours(hours)).format("%H:%M").to_string();
    let mut body = slack(&chat);
    body["quietHours"] = json!({"from": clock(-2), "to": clock(3), "timeZone": "UTC", "except": ["fail"]});
    let id = channel(&serve, &body).await;
    let mut held = Fixture::begin_of(&db.db, "acme", "shop").await;
    ready(&mut held).await;
    wait_for("it is held", async || shown(&serve, &id).await["pending"] == 1).await;
    held.complete().await;
    wait_for("so is the next one", async || shown(&serve, &id).await["pending"] == 2).await;
    let mut failed = Fixture::begin_of(&db.db, "acme", "toys").await;
    failed.fail().await;
    wait_for("a failure is sent", async || chat.replies().len() == 1).await;
    assert!(chat.roots()[0].body["text"].as_str().unwrap().contains("acme/toys"));
    assert_eq!(shown(&serve, &id).await["pending"], 2);

    // The hours end: by a change here, because a test does not wait for hours.
    body.as_object_mut().unwrap().remove("quietHours");
    let changed = caller(&serve).request(Method::PUT, &format!("{PATH}/{id}")).json(&body).send().await.unwrap();
    Answer::of(changed).await.data("채널이 변경되었습니다.");
    wait_for("the newest state", async || chat.roots().len() == 2).await;
    wait_for("nothing waits", async || shown(&serve, &id).await["pending"] == 0).await;
    let root = &chat.roots()[1];
    assert!(root.body["text"].as_str().unwrap().contains("acme/shop · main: completed"), "{root:?}");
    assert_eq!((root.updates, chat.roots().len()), (0, 2), "one message, once");
}
