//! Outgoing webhooks, delivered by `panda serve` to real receivers.

mod api;
mod failures;
mod receiver;
mod replicas;
mod secrets;

use panda_testing::answer::Caller;
use panda_testing::serve::{Serve, ServeBuilder};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use crate::support::wait_for;
pub use receiver::{Receiver, Reply};

pub const PATH: &str = "/api/v1/webhooks";

/// A server that may reach receivers on this machine.
pub fn server(db: &TestDb) -> ServeBuilder {
    Panda::builder().on(db).flags(&["--health-allow=127.0.0.0/8", "--rate-per-client=0"]).process()
}

pub fn caller(serve: &Serve) -> Caller {
    Caller::of(serve.url.clone())
}

/// Creates a webhook; its id and secret.
pub async fn webhook(serve: &Serve, body: &Value) -> (String, String) {
    let made = caller(serve).post(PATH, body).await.data("웹훅이 생성되었습니다.");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["webhook"]["webhookId"]), text(&made["secret"]))
}

/// The webhook as the API shows it.
pub async fn shown(serve: &Serve, id: &str) -> Value {
    caller(serve).get(&format!("{PATH}/{id}")).await.data("웹훅 조회 성공")
}

/// The listed deliveries of a webhook in a state.
pub async fn deliveries(serve: &Serve, id: &str, state: &str) -> Vec<Value> {
    let page = caller(serve).get(&format!("{PATH}/{id}/deliveries?state={state}")).await;
    page.data("웹훅 전송 목록 조회 성공")["deliveries"].as_array().unwrap().clone()
}

/// Numbers from 1 to `last`, as a deployment has them.
pub fn all(last: i64) -> Vec<i64> {
    (1..=last).collect()
}

/// Number of events of a deployment.
pub async fn events(db: &TestDb, deployment: &str) -> i64 {
    let sql = "SELECT count(*) FROM deployment_events WHERE deployment_id = $1";
    sqlx::query_scalar(sql).bind(deployment).fetch_one(&mut db.psql().await).await.unwrap()
}

/// Makes pending deliveries due.
pub async fn make_due(db: &TestDb) {
    let sql = "UPDATE receiver_deliveries SET next_attempt_at = clock_timestamp() WHERE state = 'pending'";
    sqlx::query(sql).execute(&mut db.psql().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__every_event_once_in_order_and_signed() {
    let db = TestDb::new().await;
    // Earlier events are not for a new webhook.
    let mut earlier = Fixture::begin_of(&db.db, "acme", "old").await;
    earlier.build_lines(1, 3).await;
    let receiver = Receiver::start().await;
    let ends = Receiver::start().await;
    let staging = Receiver::start().await;
    let serve = server(&db).ready().await;
    let (id, secret) = webhook(&serve, &json!({"url": receiver.url, "language": "en"})).await;
    webhook(&serve, &json!({"url": ends.url, "events": ["success"], "repositories": ["acme/shop"]})).await;
    webhook(&serve, &json!({"url": staging.url, "labels": {"environment": "staging"}})).await;

    let mut shop = Fixture::begin_of(&db.db, "acme", "shop").await;
    let mut toys = Fixture::begin_of(&db.db, "acme", "toys").await;
    let labels = r#"UPDATE deployments SET requested_labels = '{"environment": "staging", "team": "a"}' WHERE id = $1"#;
    sqlx::query(labels).bind(toys.id()).execute(&mut db.psql().await).await.unwrap();
    for n in 0..10 {
        shop.build_lines(n * 5 + 1, n * 5 + 5).await;
        toys.build_lines(n * 5 + 1, n * 5 + 5).await;
    }
    shop.complete().await;
    toys.complete().await;
    let (of_shop, of_toys) = (events(&db, shop.id()).await, events(&db, toys.id()).await);
    wait_for("all events arrive", async || {
        receiver.of(shop.id()).contains(&of_shop) && receiver.of(toys.id()).contains(&of_toys)
    })
    .await;
    assert_eq!((receiver.of(shop.id()), receiver.of(toys.id())), (all(of_shop), all(of_toys)));
    wait_for("labels select", async || staging.of(toys.id()).contains(&of_toys)).await;
    assert_eq!(staging.of(shop.id()), Vec::<i64>::new());
    for one in receiver.received() {
        assert_ne!(one.place().0, earlier.id());
        one.verify(&secret).unwrap();
        let event: String =
            sqlx::query_scalar("SELECT id::text FROM deployment_events WHERE deployment_id = $1 AND seq = $2")
                .bind(one.place().0)
                .bind(one.place().1)
                .fetch_one(&mut db.psql().await)
                .await
                .unwrap();
        assert_eq!(one.id, event, "the id is that of the event");
    }
    let last = receiver.received().into_iter().rfind(|one| one.place().0 == shop.id()).unwrap().body;
    assert_eq!((&last["type"], &last["version"]), (&json!("deployment.success"), &json!(1)));
    let data = &last["data"];
    assert_eq!(
        (&data["code"], &data["status"], &data["owner"]),
        (&json!("completed"), &json!("COMPLETED"), &json!("acme"))
    );
    assert_eq!(data["message"], "Deployment completed successfully");

    wait_for("the other receiver has its event", async || ends.of(shop.id()).len() == 1).await;
    assert!(ends.of(toys.id()).is_empty() && ends.of(shop.id()) == [of_shop], "only its type and repository");
    wait_for("the progress is committed", async || shown(&serve, &id).await["delivered"] == of_shop + of_toys).await;
    let state = shown(&serve, &id).await;
    assert_eq!((&state["pending"], &state["dead"], &state["enabled"]), (&json!(0), &json!(0), &json!(true)));
    assert!(
        !serve.log().contains(&secret) && !serve.log().contains(&receiver.url),
        "neither secret nor address is logged"
    );
}
