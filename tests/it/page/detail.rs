//! One deployment: its failure, its switch, and what roles may do.

use chrono::{TimeDelta, Utc};
use panda::db::commit::Change;
use panda::domain::ErrorCode;
use panda::domain::catalogue::EventCode;
use panda::domain::deployment::{Facts, Status};
use panda::domain::event::Event;
use panda_testing::web_page::{Display, WebPage};
use serde_json::json;
use sqlx::Executor as _;

use crate::http::fixture::Fixture;
use crate::support::api::Api;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

fn digest(of: char) -> String {
    format!("sha256:{}", String::from(of).repeat(64))
}

/// A deployment of `acme/shop` that awaits its switch, beside a live one.
async fn ready(db: &TestDb) -> Fixture {
    let mut live = Fixture::begin(&db.db).await;
    live.learn(Facts { commit_sha: Some("a".repeat(40)), image_digest: Some(digest('a')), ..Facts::default() }).await;
    live.complete().await;
    let mut next = Fixture::begin_at(&db.db, "acme", "shop", live.account()).await;
    next.learn(Facts {
        commit_sha: Some("b".repeat(40)),
        commit_author: Some("김 판다".to_owned()),
        commit_subject: Some("Show <b>tax</b>".to_owned()),
        image_digest: Some(digest('b')),
        blue_url: Some("http://shop.example.com".to_owned()),
        green_url: Some("javascript:alert(1)".to_owned()),
        green_latency_ms: Some(3.5),
        green_error_rate: Some(0.0),
        ready_until: Some(Utc::now() + TimeDelta::minutes(90)),
        ..Facts::default()
    })
    .await;
    next.ready().await;
    next
}

fn view(api: &Api, id: &str) -> String {
    format!("http://{}/deployments/{id}", api.address)
}

async fn switches(db: &TestDb) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM audit WHERE action = 'switch' AND result = 'done'")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn detail__compares_versions_and_switches_once() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let next = ready(&db).await;
    let page = WebPage::open().await;
    page.goto(&view(&api, next.id())).await;
    let head = page.text("#head .heading").await;
    assert!(head.contains("Show <b>tax</b>") && head.contains("김 판다"), "{head}");
    let comparison = page.text(".panel.switch").await;
    assert!(comparison.contains("aaaaaaa") && comparison.contains("bbbbbbb"), "{comparison}");
    let compare = page.attribute(".comparison a:text('Compare')", "href").await.unwrap();
    assert_eq!(compare, format!("https://github.com/acme/shop/compare/{}...{}", "a".repeat(40), "b".repeat(40)));
    assert_eq!(page.count("a[href^='javascript']").await, 0, "an address of the pipeline's output is a link");
    page.visible("log-view[data-complete]").await;
    page.expect_fit("detail-ready").await;

    page.click("[data-opens=switch-dialog]").await;
    page.expect_sound("switch dialog").await;
    page.call(json!(["dblclick", "#switch-dialog button.primary"])).await;
    page.visible("text=The traffic is moving").await;
    assert_eq!(switches(&db).await, 1);
}

#[tokio::test]
async fn detail__switch_is_bound_to_the_reviewed_image() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let next = ready(&db).await;
    let page = WebPage::open().await;
    page.goto(&view(&api, next.id())).await;
    page.click("[data-opens=switch-dialog]").await;
    // Another approver reviewed the image before this one; what this one sees is out of date.
    page.evaluate::<()>(&format!(
        "void (document.querySelector('#switch-dialog [name=imageDigest]').value = '{}')",
        digest('a')
    ))
    .await;
    page.click("#switch-dialog button.primary").await;
    page.visible("#switch-dialog .problem").await;
    assert!(page.text("#switch-dialog .problem").await.contains(&digest('b')));
    page.call(json!(["reload"])).await;
    assert!(!page.text(".timeline").await.contains("Approved"), "a refused approval is none");
    assert_eq!(switches(&db).await, 0);
}

#[tokio::test]
async fn detail__two_approvers_at_the_same_time_switch_once() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let next = ready(&db).await;
    let (one, two) = tokio::join!(WebPage::open(), WebPage::open());
    for page in [&one, &two] {
        page.goto(&view(&api, next.id())).await;
        page.click("[data-opens=switch-dialog]").await;
    }
    tokio::join!(one.click("#switch-dialog button.primary"), two.click("#switch-dialog button.primary"));
    for page in [&one, &two] {
        page.visible("text=The traffic is moving").await;
        page.expect_no_complaints("approver").await;
    }
    let requested: i64 = sqlx::query_scalar("SELECT count(DISTINCT switch_requested_at) FROM deployments")
        .fetch_one(&mut db.psql().await)
        .await
        .unwrap();
    assert_eq!(requested, 1);
}

#[tokio::test]
async fn detail__failure_shows_its_cause_first_and_retries() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut failed = Fixture::begin(&db.db).await;
    failed.fail().await;
    let page = WebPage::with(Display { size: (360, 740), ..Display::default() }).await;
    page.goto(&view(&api, failed.id())).await;
    assert!(page.text(".cause").await.contains("exit code 1"));
    let bottom: f64 = page.evaluate("document.querySelector('.cause').getBoundingClientRect().bottom").await;
    assert!(bottom < 740.0, "the cause is visible without scrolling: {bottom}");
    assert!(page.call(json!(["title"])).await.as_str().unwrap().starts_with("Failed"));
    assert!(page.attribute("link[rel=icon]", "href").await.unwrap().ends_with("/failed.svg"));
    page.visible("log-view[data-complete]").await;
    page.expect_fit("detail-failed").await;

    page.click("button:text('Retry from here')").await;
    page.visible(".heading .badge.running").await;
    page.until("document.title.startsWith('Running')").await;
    page.visible(".meta .tag:text('attempt 2')").await;
    assert!(page.attribute("link[rel=icon]", "href").await.unwrap().ends_with("/running.svg"));
}

#[tokio::test]
async fn detail__unknown_deployment_is_a_page_with_the_way_back() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let page = WebPage::with(Display { locale: "ko-KR", ..Display::default() }).await;
    page.goto(&view(&api, "dep_unknown")).await;
    assert!(page.text("main").await.contains("DEPLOYMENT_NOT_FOUND"));
    page.click("main a.button").await;
    page.visible("h1:text('배포')").await;
    page.goto(&format!("http://{}/no/such/view", api.address)).await;
    assert!(page.text("main").await.contains("ROUTE_NOT_FOUND"), "an address that does not exist");
}

#[tokio::test]
async fn detail__approval_counts_down_and_expires() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut next = ready(&db).await;
    let page = WebPage::open().await;
    page.goto(&view(&api, next.id())).await;
    page.visible("time[data-until]:text('1 h 29 min')").await;
    // AWS ends the wait: the watch requests a look, and the step fails the deployment.
    let looked = "UPDATE deployments SET watched = true, look_requested_at = now() WHERE status = 'DEPLOYMENT_READY'";
    db.psql().await.execute(looked).await.unwrap();
    next.claim_again().await;
    let error = Some(("SWITCH_EXPIRED".to_owned(), "트래픽 전환 대기 시간이 만료되었습니다".to_owned()));
    let events = vec![Event::failed(ErrorCode::SwitchExpired, "the wait ended")];
    next.commit(Change {
        status: Some(Status::Failed),
        watched: Some(false),
        error,
        events,
        release: true,
        ..Change::default()
    })
    .await;
    db.db.notify_events(&[next.id().to_owned()]).await.unwrap();
    page.visible(".heading .badge.failed").await;
    assert!(page.text(".failure").await.contains("SWITCH_EXPIRED"));
    assert_eq!(page.count("[data-opens=switch-dialog]").await, 0);
    page.expect_no_complaints("expired").await;
}

#[tokio::test]
async fn detail__rollback_names_what_returns() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut before = Fixture::begin(&db.db).await;
    before.learn(Facts { commit_sha: Some("a".repeat(40)), image_digest: Some(digest('a')), ..Facts::default() }).await;
    before.complete().await;
    let mut live = Fixture::begin_at(&db.db, "acme", "shop", before.account()).await;
    let code_deploy_deployment_id = Some("d-ABCDEF123".to_owned());
    live.learn(Facts { image_digest: Some(digest('b')), code_deploy_deployment_id, ..Facts::default() }).await;
    live.switched().await;
    let page = WebPage::open().await;
    // Only the live deployment can be rolled back.
    page.goto(&view(&api, before.id())).await;
    assert_eq!(page.count("[data-opens=rollback-dialog]").await, 0);
    page.goto(&view(&api, live.id())).await;
    page.visible("log-view[data-complete]").await;
    page.click("[data-opens=rollback-dialog]").await;
    let dialog = page.text("#rollback-dialog").await;
    assert!(dialog.contains(before.id()) && dialog.contains("aaaaaaa") && dialog.contains("AWS takes"), "{dialog}");
    page.expect_sound("rollback dialog").await;
    page.screenshot("detail-rollback-dialog").await;
    page.fill("#rollback-dialog [name=reason]", "checkout answers 500").await;
    page.click("#rollback-dialog .dialog-end button.danger").await;
    page.visible("text=Rolling back: AWS").await;
    page.until("[...document.querySelectorAll('.timeline li')].some((entry) => entry.innerText.includes('Requested a rollback'))").await;
    assert_eq!(page.count("[data-opens=rollback-dialog]").await, 0, "one rollback at a time");
    page.expect_no_complaints("rollback").await;
    let row = db.db.deployment(live.id()).await.unwrap().unwrap();
    assert!(row.rollback_requested_at.is_some());
}

#[tokio::test]
async fn detail__rollback_after_blue_starts_a_deployment() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut before = Fixture::begin(&db.db).await;
    before.learn(Facts { image_digest: Some(digest('a')), ..Facts::default() }).await;
    before.complete().await;
    let mut live = Fixture::begin_at(&db.db, "acme", "shop", before.account()).await;
    live.learn(Facts { image_digest: Some(digest('b')), ..Facts::default() }).await;
    live.complete().await;
    let page = WebPage::with(Display { locale: "ko-KR", ..Display::default() }).await;
    page.goto(&view(&api, live.id())).await;
    page.click("[data-opens=rollback-dialog]").await;
    page.click("#rollback-dialog .dialog-end button.danger").await;
    page.until(&format!("!location.pathname.endsWith('{}')", live.id())).await;
    page.visible(".meta .tag:text('롤백')").await;
    assert!(page.text(".facts").await.contains(live.id()), "it names the deployment that it rolls back");
}

#[tokio::test]
async fn detail__gates_show_their_measurements() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut next = Fixture::begin(&db.db).await;
    let policy = json!({"gates": [{"name": "errors", "at": "before_switch", "every": 30, "times": 3, "failures": 1, "noData": "wait", "onFail": "pause",
        "prometheus": {"url": "https://prometheus.example.com/", "query": "errors", "max": 1}}]});
    let sql = "UPDATE deployments SET policy = $2, policy_version = 1 WHERE id = $1";
    sqlx::query(sql).bind(next.id()).bind(policy).execute(&mut db.psql().await).await.unwrap();
    let hostile = "<img src=x onerror=alert(1)>\u{202e}";
    let about = |code, occurrence: &str| {
        Event::new(code).with("gate", "errors").with("at", "before_switch").with("reason", hostile).keyed(occurrence)
    };
    let measured = |number: u32, result: &str, value: f64| {
        let event = about(EventCode::GateMeasured, &number.to_string());
        event.with("number", number).with("result", result).with("value", value)
    };
    next.tell(vec![measured(1, "passed", 0.0), measured(2, "passed", 0.5), measured(3, "failed", 4.0)]).await;
    next.tell(vec![about(EventCode::GateNotPassed, "end").with("on_fail", "pause")]).await;
    next.ready().await;
    let page = WebPage::open().await;
    page.goto(&view(&api, next.id())).await;
    let shown = page.text(".gates").await;
    assert!(shown.contains("errors") && shown.contains("2 of 3 measurements passed"), "{shown}");
    assert!(shown.contains("Not passed") && shown.contains("<img"), "{shown}");
    assert_eq!((page.count(".gates rect").await, page.count(".gates rect.failed").await), (3, 1));
    assert_eq!(page.count(".gates img").await, 0, "text from outside is text");
    page.visible("log-view[data-complete]").await;
    page.expect_fit("detail-gates").await;
}
