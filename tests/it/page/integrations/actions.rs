//! Actions on integrations: each goes through the API, and the view shows its outcome.

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::{Installation, text};
use crate::page::start::problem_at;
use crate::pushes::ping;
use crate::support::wait_for;
use crate::webhooks::{Receiver, Reply};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrations__webhook_is_tested_replayed_rotated_disabled_and_deleted() {
    let installation = Installation::delivering().await;
    let Installation { page, caller, .. } = &installation;
    let receiver = Receiver::start().await;
    let body = json!({"url": receiver.url, "description": "board", "events": ["success"], "repositories": ["acme/shop"], "language": "en"});
    let id = installation.webhook(&body).await;
    let dead = installation.deliveries(&id, &["dead"]).await[0];
    let view = format!("/integrations/webhooks/{id}");
    installation.goto(&view).await;

    page.click("test-answer button").await;
    page.visible("test-answer .done").await;
    assert!(page.text("test-answer .done").await.contains("Accepted"));
    receiver.answer(Reply::Status(503));
    page.click("test-answer button").await;
    page.visible("test-answer .problem[role=status]").await;
    assert!(page.text("test-answer .problem[role=status]").await.contains("503"));
    page.screenshot("integrations-tested").await;

    receiver.answer(Reply::Status(200));
    page.click(&format!("#replay-{dead} button")).await;
    wait_for("the dead letter arrives", async || receiver.received().iter().any(|one| one.id == dead.to_string()))
        .await;
    wait_for("the view shows it", async || {
        installation.goto(&view).await;
        page.count(".badge.delivery-delivered").await == 1
    })
    .await;

    page.click("#rotate summary").await;
    page.click("#rotate button").await;
    page.visible("dialog.secret").await;
    let secret = page.text("dialog.secret output[data-value=secret]").await;
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(page.count("dialog.secret [data-part]:visible").await, 0, "GitHub has no part in it");
    page.expect_axe("a rotated secret").await;
    page.click("dialog.secret [data-close]").await;
    page.until("document.querySelector('dialog.secret output').textContent === ''").await;
    assert!(page.text(".facts").await.contains("Earlier secrets valid until"));

    // A change keeps what others changed since the view was loaded.
    let changed = json!({"url": receiver.url, "description": "renamed", "events": ["fail"], "labels": {"team": "a"}, "language": "ko"});
    caller.put(&format!("/api/v1/webhooks/{id}"), &changed).await;
    page.click("#disable button").await;
    page.visible(".badge.state-disabled").await;
    let shown = async || caller.get(&format!("/api/v1/webhooks/{id}")).await.json()["data"].clone();
    let now: Value = shown().await;
    assert_eq!(
        (&now["enabled"], &now["description"], &now["events"]),
        (&json!(false), &json!("renamed"), &json!(["fail"]))
    );
    assert_eq!((&now["repositories"], &now["language"]), (&json!(null), &json!("ko")));
    assert_eq!(now["labels"], json!({"team": "a"}));
    page.click("#enable button").await;
    page.visible(".badge.state-active").await;
    page.visible("#disable button").await;
    page.click("#delete button").await;
    page.until("location.pathname === '/integrations'").await;
    caller.get(&format!("/api/v1/webhooks/{id}")).await.problem(404, "WEBHOOK_NOT_FOUND");
}

#[tokio::test]
async fn integrations__push_hook_is_redelivered_adopted_rotated_disabled_and_deleted() {
    let installation = Installation::new().await;
    let Installation { page, caller, db, .. } = &installation;
    let (id, at_github) = installation.hook("shop").await;
    at_github.send("ping", &ping()).await;
    let view = format!("/integrations/hooks/{id}");
    installation.goto(&view).await;
    let address = installation.public_url(&format!("/api/v1/hooks/github/{id}"));
    assert!(page.text(".facts").await.contains(&address));
    assert_eq!(page.count("#adopt").await, 0, "it is the admin's own");
    page.click("form[data-api$=redelivery] button").await;
    page.until("document.querySelector('#pushes').innerText.includes('2 decisions')").await;

    page.click("#rotate summary").await;
    page.fill("#rotate input", "169").await;
    page.call(json!(["evaluate", "document.querySelector('#rotate form').noValidate = true"])).await;
    page.click("#rotate button").await;
    problem_at(page, "#rotate [name=keepPreviousHours]").await;
    page.fill("#rotate input", "0").await;
    page.click("#rotate button").await;
    page.visible("dialog.secret [data-part]").await;
    assert_eq!(page.text("dialog.secret output[data-value=address]").await, address);
    page.expect_axe("what to enter at GitHub").await;
    page.screenshot("integrations-hook-secret").await;
    page.click("dialog.secret [data-close]").await;
    at_github.send("ping", &ping()).await.problem(401, "PUSH_SIGNATURE_INVALID");

    page.click("#disable button").await;
    page.visible(".badge.state-disabled").await;
    let shown = async || caller.get(&format!("/api/v1/hooks/{id}")).await.json()["data"].clone();
    let now = shown().await;
    assert_eq!((&now["enabled"], &now["rules"][0]["labels"]), (&json!(false), &json!({"environment": "production"})));

    // The hook of another admin is taken over, without enabling it.
    sqlx::query("UPDATE push_hooks SET made_by = 'alice'").execute(&mut db.psql().await).await.unwrap();
    installation.goto(&view).await;
    page.click("#adopt button").await;
    page.gone("#adopt").await;
    let now = shown().await;
    assert_eq!((text(&now["madeBy"]), &now["enabled"]), ("admin-test".to_owned(), &json!(false)));
    page.click("#delete button").await;
    page.until("location.pathname === '/integrations'").await;
    caller.get(&format!("/api/v1/hooks/{id}")).await.problem(404, "HOOK_NOT_FOUND");
}
