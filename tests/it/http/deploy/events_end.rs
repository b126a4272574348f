//! How streams end.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::http::reader::texts;
use crate::http::{Api, Outside, Story};
use crate::support::db::TestDb;
use crate::support::wait_for;

#[tokio::test]
async fn five_seconds_after_the_last_event_the_server_ends_the_stream() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    let mut reader = api.follow(story.id(), "").await;
    story.ready().await;
    api.hub.nudge(story.id());
    let messages = reader.take(2).await;
    assert!(messages[0].text().contains("트래픽 전환 대기"), "what front ends look for");
    assert_eq!(messages[1].data, r#"{"message":"Deployment ready for manual traffic switch"}"#);
    let told = Instant::now();
    assert_eq!(reader.rest().await, []);
    let waited = told.elapsed().as_secs_f64();
    assert!((4.5..7.0).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn a_deployment_that_becomes_active_again_keeps_its_stream() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let mut story = Story::begin(&db.db).await;
    story.ready().await;
    let mut reader = api.follow(story.id(), "").await;
    reader.take(2).await;
    let told = Instant::now();
    // At another process: ours hears of it.
    other.post(&format!("/api/v1/deploy/{}/switch", story.id()), &json!({})).await.data("배포 전환이 시작되었습니다.");
    story.claim_again().await;
    tokio::time::sleep_until(told + Duration::from_secs(6)).await;
    story.complete().await;
    let rest = reader.rest().await;
    assert_eq!(texts(&rest), ["[Stage 4] 배포 완료", "Deployment completed successfully"]);
}

#[tokio::test]
async fn a_stream_of_a_finished_deployment_gives_its_history_and_ends() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 2).await;
    story.fail().await;
    let messages = api.follow(story.id(), "").await.rest().await;
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[2].event, "fail");
    assert_eq!(messages[2].data, r#"{"message":"Docker 이미지 빌드 실패: exit code 1"}"#);
}

#[tokio::test]
async fn on_shutdown_streams_close_at_once_and_new_ones_get_no_fatal_status() {
    let db = TestDb::new().await;
    let mut api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut reader = api.follow(story.id(), "").await;
        reader.take(1).await;
        readers.push(reader);
    }
    let told = Instant::now();
    api.shutdown.cancel();
    for reader in &mut readers {
        assert_eq!(reader.rest().await, []);
    }
    (&mut api.serving).await.unwrap().unwrap();
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    let refused = api.request(reqwest::Method::GET, "/healthz").send().await.unwrap_err();
    assert!(refused.is_connect(), "connections are refused, which readers try again: {refused}");
}

#[tokio::test]
async fn streams_are_closed_now_and_then_and_their_readers_miss_nothing() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &Outside::default(), &["--stream-rotation-ms=1000"]).await;
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let (mut lifetimes, mut told, mut last) = (Vec::new(), Vec::new(), String::new());
    for n in 2..=6 {
        let opened = Instant::now();
        let mut reader = api.follow(story.id(), &format!("?lastEventId={last}")).await;
        story.build_lines(n, n).await;
        api.hub.nudge(story.id());
        told.extend(reader.rest().await);
        lifetimes.push(opened.elapsed().as_secs_f64());
        last.clone_from(&told.last().unwrap().id);
    }
    let expected: Vec<String> = (1..=6).map(|n| format!("[Stage 1] Docker 빌드 진행 중: line {n}")).collect();
    assert_eq!(texts(&told), expected);
    assert!(lifetimes.iter().all(|seconds| (0.75..2.5).contains(seconds)), "{lifetimes:?}");
    assert!(lifetimes.iter().any(|seconds| (seconds - lifetimes[0]).abs() > 0.01), "not all together: {lifetimes:?}");
}

#[tokio::test]
async fn a_reader_that_goes_leaves_nothing_behind() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let story = Story::begin(&db.db).await;
    let reader = api.follow(story.id(), "").await;
    let other = api.follow(story.id(), "").await;
    assert_eq!(api.hub.watched(), 1);
    drop(reader);
    drop(other);
    wait_for("nobody watches", async || (api.hub.watched() == 0).then_some(())).await;
}
