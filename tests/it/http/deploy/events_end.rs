//! Ends of a deployment's stream, planned and unplanned.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::http::{Api, ExternalServices, Fixture};
use crate::support::db::TestDb;
use crate::support::sse_reader::texts;
use crate::support::wait_for;

#[tokio::test]
async fn events_end__five_seconds_after_last_event() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    fixture.ready().await;
    api.hub.notify(fixture.id());
    let messages = reader.take(2).await;
    assert!(messages[0].text().contains("트래픽 전환 대기"), "what front ends look for");
    assert_eq!(messages[1].data, r#"{"message":"Deployment ready for manual traffic switch"}"#);
    let received = Instant::now();
    assert_eq!(reader.rest().await, []);
    let waited = received.elapsed().as_secs_f64();
    assert!((4.5..7.0).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn events_end__reactivated_deployment_keeps_stream() {
    let db = TestDb::new().await;
    let (api, other) = (Api::serve(&db.db).await, Api::serve(&db.db).await);
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.ready().await;
    let mut reader = api.follow(fixture.id(), "").await;
    reader.take(2).await;
    let received = Instant::now();
    // The change is made in another process; this one is notified.
    other
        .post(&format!("/api/v1/deploy/{}/switch", fixture.id()), &json!({}))
        .await
        .data("배포 전환이 시작되었습니다.");
    fixture.claim_again().await;
    tokio::time::sleep_until(received + Duration::from_secs(6)).await;
    fixture.complete().await;
    let rest = reader.rest().await;
    assert_eq!(texts(&rest), ["[Stage 4] 배포 완료", "Deployment completed successfully"]);
}

#[tokio::test]
async fn events_end__finished_deployment_replays_and_ends() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 2).await;
    fixture.fail().await;
    let messages = api.follow(fixture.id(), "").await.rest().await;
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[2].event, "fail");
    assert_eq!(messages[2].data, r#"{"message":"Docker 이미지 빌드 실패: exit code 1"}"#);
}

#[tokio::test]
async fn events_end__shutdown_closes_streams_without_fatal_status() {
    let db = TestDb::new().await;
    let mut api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        let mut reader = api.follow(fixture.id(), "").await;
        reader.take(1).await;
        readers.push(reader);
    }
    let received = Instant::now();
    api.shutdown.cancel();
    for reader in &mut readers {
        assert_eq!(reader.rest().await, []);
    }
    (&mut api.serving).await.unwrap().unwrap();
    assert!(received.elapsed() < Duration::from_secs(2), "{:?}", received.elapsed());
    let refused = api.request(reqwest::Method::GET, "/healthz").send().await.unwrap_err();
    assert!(refused.is_connect(), "connections are refused, so readers retry: {refused}");
}

#[tokio::test]
async fn events_end__one_connection_sees_whole_deployment() {
    // Time runs 6,000 times as fast: 0.1 s stands for the ten minutes of a rotation, and the deployment takes an hour and a half.
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--stream-rotation-ms=100"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut reader = api.follow(fixture.id(), "").await;
    for n in 1..=9 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.build_lines(n, n).await;
        api.hub.notify(fixture.id());
    }
    assert_eq!(reader.take(9).await.len(), 9);
    fixture.ready().await;
    api.hub.notify(fixture.id());
    assert_eq!(reader.take(2).await[1].event, "success");
    let received = Instant::now();
    assert_eq!(reader.rest().await, []);
    assert!(received.elapsed() > Duration::from_millis(4_500), "the last five seconds are not cut either");
}

#[tokio::test]
async fn events_end__departed_reader_releases_resources() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let reader = api.follow(fixture.id(), "").await;
    let other = api.follow(fixture.id(), "").await;
    assert_eq!(api.hub.watched(), 1);
    drop(reader);
    drop(other);
    wait_for("no subscriber is left", async || (api.hub.watched() == 0).then_some(())).await;
}
