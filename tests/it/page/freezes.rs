//! Freezes: the view, what holds a deployment, and the override.

use chrono::{TimeDelta, Utc};
use panda::domain::principal::Role;
use panda_testing::web_page::{Display, WebPage};
use serde_json::json;
use sqlx::Executor as _;

use super::access::sign_in;
use super::start::problem_at;
use crate::http::Fixture;
use crate::http::auth::{Token, serve};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

const HOSTILE: &str = "<img src=x onerror=alert(1)> Stocktaking {reason} 재고 조사";

/// A time from now as a browser in Seoul shows it.
fn local(minutes: i64) -> String {
    (Utc::now() + TimeDelta::hours(9) + TimeDelta::minutes(minutes)).format("%Y-%m-%dT%H:%M").to_string()
}

#[tokio::test]
async fn freezes__created_hold_switch_until_overridden_or_ended() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let queued = Fixture::queue_behind(&db.db, &ready).await;
    let view = |path: &str| format!("http://{}{path}", api.address);
    let page = WebPage::open().await;
    page.call(json!(["accept_dialogs"])).await;
    page.goto(&view("/freezes")).await;
    page.expect_sound("no freezes").await;
    page.click("#create > summary").await;
    page.fill("[name=scope]", "team:acme").await;
    page.fill("[name=endsAt]", &local(60)).await;
    page.fill("[name=reason]", HOSTILE).await;
    page.click("#create button").await;
    assert!(problem_at(&page, "[name=scope]").await.contains("repository:OWNER/NAME"));
    page.fill("[name=scope]", "owner:Acme").await;
    page.fill("[name=startsAt]", &local(90)).await;
    page.click("#create button").await;
    assert!(problem_at(&page, "[name=endsAt]").await.contains("later than startsAt"));
    page.fill("[name=startsAt]", "").await;
    page.fill("[name=endsAt]", "").await;
    page.click("#create button").await;
    problem_at(&page, "[name=endsAt]").await;
    page.fill("[name=endsAt]", &local(60)).await;
    page.click("#create button").await;
    page.visible(".entry .badge.freeze-in_force").await;
    let entry = page.text(".entry").await;
    assert!(entry.contains("acme") && entry.contains(HOSTILE) && entry.contains("in 59 min"), "{entry}");
    assert_eq!(page.count(".entry img").await, 0);

    page.goto(&view("/")).await;
    assert!(page.text("#holds").await.contains(HOSTILE), "the start page says what is held");
    let rows = page.texts(".row-held").await;
    assert!(rows.len() == 2 && rows.iter().all(|row| row.contains("Freeze") && row.contains(HOSTILE)), "{rows:?}");
    page.goto(&view(&format!("/deployments/{queued}"))).await;
    let held = page.text("#head .holds").await;
    assert!(held.contains("The start is held") && held.contains("until"), "{held}");
    page.click("#head .holds p a").await;
    page.visible("#override [name=\"override.reason\"]").await;

    page.goto(&view(&format!("/deployments/{}", ready.id()))).await;
    page.click("[data-opens=switch-dialog]").await;
    page.expect_sound("dialog of a held switch").await;
    page.screenshot("freezes-switch-dialog").await;
    page.click("#switch-dialog .dialog-end button.danger").await;
    page.visible("#switch-dialog .problem").await;
    assert!(page.text("#switch-dialog .problem").await.contains("holds switches until"));
    page.fill("#switch-dialog [name=\"override.reason\"]", "checkout is down").await;
    page.click("#switch-dialog .dialog-end button.danger").await;
    page.visible("text=The traffic is moving").await;

    page.goto(&view("/freezes")).await;
    page.click(".entry-actions button").await;
    page.visible(".entry .badge.freeze-lifted").await;
    page.expect_no_complaints("ended early").await;
    page.goto(&view("/")).await;
    assert_eq!(page.count("#holds section").await, 0);
}

#[tokio::test]
async fn freezes__begun_after_the_view_was_loaded_ask_for_a_reason() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let page = WebPage::open().await;
    page.goto(&format!("http://{}/deployments/{}", api.address, ready.id())).await;
    page.click("[data-opens=switch-dialog]").await;
    crate::http::freezes::freeze(&api, "all", "both").await;
    page.click("#switch-dialog button.primary").await;
    page.fill("#switch-dialog .override input", "checkout is down").await;
    page.press("Enter").await;
    page.visible("text=The traffic is moving").await;
}

#[tokio::test]
async fn freezes__follow_roles_and_are_readable_everywhere() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let long = format!("{HOSTILE} {}", "very-long-word".repeat(30));
    let insert = "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at, lifted_at, lifted_by)
        SELECT 'frz_' || n, scope, holds, left($1, 500), 'https://issuer.example.com|alice' || U&'\\202E' || '<b>', now() + begins, now() + ends,
               CASE WHEN n = 5 THEN now() END, CASE WHEN n = 5 THEN 'bob' END
        FROM (VALUES (1, 'all', 'both', interval '-1 hour', interval '2 days'), (2, 'repository:acme/shop', 'switches', '-1 hour', '3 days'),
              (3, 'region:ap-northeast-2', 'starts', '1 day', '9 days'), (4, 'owner:acme', 'starts', '-9 days', '-1 day'),
              (5, 'owner:acme', 'both', '-1 hour', '1 day'), (6, 'repository:toys/game', 'both', '-1 hour', '1 day')) AS v (n, scope, holds, begins, ends)";
    db.psql().await.execute(sqlx::query(insert).bind(&long)).await.unwrap();
    let page = WebPage::open().await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    sign_in(&page, &api, "/freezes", &viewer.secret).await;
    assert_eq!((page.count("#create").await, page.count(".entry-actions form").await), (0, 0));
    let admin = Token::scoped(&db.db, Role::Admin, &["acme/shop"]).await;
    page.profile(Display::default()).await;
    sign_in(&page, &api, "/freezes", &admin.secret).await;
    assert_eq!(page.count(".entry-actions form").await, 1, "only what the admin's scope covers");
    assert_eq!(page.count(".entry[id=frz_6]").await, 0, "of another repository");
    assert!(page.text(".entry").await.contains("alice<U+202E><b>"), "misleading characters are visible");
    page.click("#create > summary").await;
    for (name, path) in [
        ("freezes", "/freezes".to_owned()),
        ("freezes-list", "/".to_owned()),
        ("freezes-detail", format!("/deployments/{}", ready.id())),
    ] {
        page.goto(&format!("http://{}{path}", api.address)).await;
        page.expect_fit(name).await;
    }
    page.profile(Display { locale: "ko-KR", dark: true, size: (360, 740), scripts: false }).await;
    sign_in(&page, &api, "/freezes", &admin.secret).await;
    let text = page.text("main").await;
    assert!(text.contains("시행 중") && text.contains("지난 동결") && !text.contains("freezes."), "{text}");
    page.screenshot("freezes-360-dark-ko-no-script").await;
}
