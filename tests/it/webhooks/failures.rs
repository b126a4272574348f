//! Receivers that refuse, redirect, never answer or stream without end, and addresses that lead to this machine.

use std::time::Duration;

use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::{PATH, Receiver, Reply, all, caller, deliveries, events, make_due, server, shown, webhook};
use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__failure_holds_its_deployment_only() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    let serve = server(&db).ready().await;
    let (id, _) = webhook(&serve, &json!({"url": receiver.url})).await;
    let mut bad = Fixture::begin_of(&db.db, "acme", "bad").await;
    let mut good = Fixture::begin_of(&db.db, "acme", "good").await;
    let failing = bad.id().to_owned();
    receiver.script(move |one| if one.place().0 == failing { Reply::Status(500) } else { Reply::Status(200) });
    bad.build_lines(1, 5).await;
    good.build_lines(1, 5).await;
    wait_for("the other deployment's events arrive", async || receiver.of(good.id()).len() == 5).await;
    wait_for("one is pending, four wait", async || deliveries(&serve, &id, "open").await.len() == 5).await;
    let open = deliveries(&serve, &id, "open").await;
    let states: Vec<(i64, &str)> =
        open.iter().map(|one| (one["sequence"].as_i64().unwrap(), one["state"].as_str().unwrap())).collect();
    assert!(
        states.contains(&(1, "pending")) && states.iter().filter(|(_, state)| *state == "waiting").count() == 4,
        "{states:?}"
    );
    let pending = open.iter().find(|one| one["state"] == "pending").unwrap();
    assert_eq!((&pending["lastStatus"], &pending["lastError"]), (&json!(500), &json!("status 500")));
    assert!(pending["attempts"].as_i64() >= Some(1), "{pending}");
    assert!(receiver.received().iter().filter(|one| one.place().0 == bad.id()).all(|one| one.place().1 == 1));
    // Later events wait too, and all follow in order once the receiver accepts them, before the end of the wait.
    bad.build_lines(6, 8).await;
    receiver.answer(Reply::Status(200));
    wait_for("all wait", async || deliveries(&serve, &id, "open").await.len() == 8).await;
    make_due(&db).await;
    wait_for("all arrive", async || receiver.of(bad.id()).len() == 8).await;
    assert_eq!(receiver.of(bad.id()), all(8));
    wait_for("nothing is open", async || shown(&serve, &id).await["pending"] == 0).await;
    assert_eq!(deliveries(&serve, &id, "delivered").await.len(), 8);
    bad.build_lines(9, 9).await;
    wait_for("a further event needs no row", async || receiver.of(bad.id()) == all(9)).await;
    assert_eq!(deliveries(&serve, &id, "delivered").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__dead_letter_releases_the_rest_and_is_replayed() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    receiver.script(|one| if one.place().1 == 1 { Reply::Later(70) } else { Reply::Status(200) });
    let serve = server(&db).ready().await;
    let (id, _) = webhook(&serve, &json!({"url": receiver.url})).await;
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 3).await;
    wait_for("the first is pending", async || deliveries(&serve, &id, "open").await.len() == 3).await;
    let wait: f64 = sqlx::query_scalar("SELECT extract(epoch FROM next_attempt_at - changed_at)::float8 FROM receiver_deliveries WHERE state = 'pending'")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap();
    assert!((69.0..71.0).contains(&wait), "as the receiver asked: {wait}");
    let event = receiver.received()[0].id.clone();
    let replay = format!("{PATH}/{id}/deliveries/{event}/replay");
    caller(&serve).post(&replay, &json!({})).await.problem(409, "DELIVERY_NOT_DEAD");
    let last =
        "UPDATE receiver_deliveries SET attempts = 16, next_attempt_at = clock_timestamp() WHERE state = 'pending'";
    sqlx::query(last).execute(&mut db.psql().await).await.unwrap();
    wait_for("the rest arrives", async || receiver.of(deployment.id()) == [2, 3]).await;
    let dead = deliveries(&serve, &id, "dead").await;
    assert_eq!((dead.len(), &dead[0]["deliveryId"], &dead[0]["attempts"]), (1, &json!(event), &json!(17)));
    wait_for("counted", async || shown(&serve, &id).await["dead"] == 1).await;

    receiver.answer(Reply::Status(200));
    let replayed = caller(&serve).post(&replay, &json!({})).await.data("웹훅 전송을 다시 시도합니다.");
    assert_eq!((&replayed["state"], &replayed["attempts"]), (&json!("pending"), &json!(0)));
    wait_for("the dead letter arrives", async || receiver.of(deployment.id()) == [2, 3, 1]).await;
    wait_for("it is delivered", async || shown(&serve, &id).await["dead"] == 0).await;
    assert!(receiver.received().iter().filter(|one| one.place().1 == 1).all(|one| one.id == event), "the id stays");
    assert!(serve.metrics().await.contains("panda_receiver_deliveries_total{kind=\"webhook\",result=\"dead\"} 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__redirect_silence_and_endless_answers_are_bounded() {
    let db = TestDb::new().await;
    let (redirecting, silent, endless, good) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await);
    redirecting.answer(Reply::Redirect);
    silent.answer(Reply::Never);
    endless.answer(Reply::Endless);
    let serve = server(&db).ready().await;
    let mut ids = Vec::new();
    for receiver in [&redirecting, &silent, &endless, &good] {
        ids.push(webhook(&serve, &json!({"url": receiver.url})).await.0);
    }
    // More deployments than a silent receiver may have open requests.
    let mut deployments = Vec::new();
    for n in 0..40 {
        let mut one = Fixture::begin_of(&db.db, "acme", &format!("r{n}")).await;
        one.build_lines(1, 2).await;
        deployments.push(one);
    }
    wait_for("a good receiver is not delayed", async || good.accepted().values().map(Vec::len).sum::<usize>() == 80)
        .await;
    assert!(silent.most_concurrent() <= 32, "{}", silent.most_concurrent());
    wait_for("a status decides, however long the body", async || {
        endless.accepted().values().map(Vec::len).sum::<usize>() == 80
    })
    .await;
    wait_for("no redirect is followed", async || !deliveries(&serve, &ids[0], "open").await.is_empty()).await;
    assert!(redirecting.received().iter().all(|one| one.path == "/hook"));
    let redirected = deliveries(&serve, &ids[0], "open").await;
    let failed = redirected.iter().find(|one| one["state"] == "pending").unwrap();
    assert_eq!(
        (&failed["lastStatus"], &failed["lastError"]),
        (&json!(302), &json!("status 302: redirects are not followed"))
    );
    wait_for("silence is a failure", async || {
        deliveries(&serve, &ids[1], "open")
            .await
            .iter()
            .any(|one| one["lastStatus"] == Value::Null && one["attempts"] == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__gone_disables_until_enabled_again() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    receiver.answer(Reply::Status(410));
    let serve = server(&db).ready().await;
    let body = json!({"url": receiver.url});
    let (id, _) = webhook(&serve, &body).await;
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 3).await;
    wait_for("it is disabled", async || shown(&serve, &id).await["enabled"] == false).await;
    let state = shown(&serve, &id).await;
    assert_eq!((&state["disabledReason"], &state["dead"]), (&json!("gone"), &json!(1)));
    receiver.answer(Reply::Status(200));
    // Another transaction of the cluster holds the order of events back, so that these are not settled yet.
    let mut psql = db.psql().await;
    let mut older = psql.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *older).await.unwrap();
    deployment.build_lines(4, 5).await;
    let enabled = caller(&serve).put(&format!("{PATH}/{id}"), &body).await.data("웹훅이 변경되었습니다.");
    assert_eq!((&enabled["enabled"], &enabled["disabledReason"]), (&json!(true), &Value::Null));
    deployment.build_lines(6, 7).await;
    older.rollback().await.unwrap();
    wait_for("events from then on arrive", async || receiver.of(deployment.id()) == [6, 7]).await;
    assert_eq!(events(&db, deployment.id()).await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__addresses_of_this_machine_are_refused() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    let port = receiver.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let serve = Panda::builder().on(&db).process().ready().await;
    let mut ids = Vec::new();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "169.254.169.254"] {
        let (id, _) = webhook(&serve, &json!({"url": format!("http://{host}:{port}/")})).await;
        let tested = caller(&serve).post(&format!("{PATH}/{id}/test"), &json!({})).await;
        let tested = tested.data("웹훅 테스트 요청을 보냈습니다.");
        assert_eq!(tested["accepted"], false, "{host}");
        assert!(tested["error"].as_str().unwrap().contains("may not be reached"), "{host}: {tested}");
        ids.push(id);
    }
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    deployment.build_lines(1, 1).await;
    for id in &ids {
        wait_for("the delivery fails", async || {
            let open = deliveries(&serve, id, "open").await;
            open.iter().any(|one| one["lastError"].as_str().is_some_and(|error| error.contains("may not be reached")))
        })
        .await;
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks__recovered_receiver_gets_its_backlog_soon() {
    let db = TestDb::new().await;
    let receiver = Receiver::start().await;
    receiver.answer(Reply::Status(503));
    let serve = server(&db).ready().await;
    let (id, _) = webhook(&serve, &json!({"url": receiver.url})).await;
    let mut deployments = Vec::new();
    for n in 0..6 {
        let mut one = Fixture::begin_of(&db.db, "acme", &format!("r{n}")).await;
        one.build_lines(1, 1).await;
        deployments.push(one);
    }
    wait_for("all are pending", async || shown(&serve, &id).await["pending"] == 6).await;
    let later = "UPDATE receiver_deliveries SET next_attempt_at = clock_timestamp() + interval '5 hours'";
    sqlx::query(later).execute(&mut db.psql().await).await.unwrap();
    receiver.answer(Reply::Slow(Duration::from_millis(1)));
    let mut fresh = Fixture::begin_of(&db.db, "acme", "fresh").await;
    fresh.build_lines(1, 1).await;
    wait_for("its success makes the others due", async || receiver.accepted().len() == 7).await;
}
