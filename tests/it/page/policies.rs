//! Policies: the list, one policy with its versions, and the form.

use panda::domain::principal::Role;
use panda_testing::web_page::{Display, WebPage};
use serde_json::{Value, json};

use super::access::sign_in;
use super::start::problem_at;
use crate::http::auth::{Token, serve};
use crate::http::{Fixture, fixture};
use crate::support::db::TestDb;

const PATH: &str = "/policies/acme/shop";

#[tokio::test]
async fn policies__stored_by_form_and_shown_in_words() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    fixture::github_connection(&db.db, "Acme", "Shop").await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let page = WebPage::open().await;
    sign_in(&page, &api, "/policies", &admin.secret).await;
    page.expect_sound("no policies").await;
    page.click(".links a").await;
    page.until(&format!("location.pathname === '{PATH}'")).await;
    // Two windows; the second one becomes the first when that is removed.
    page.click("[data-add]").await;
    page.click("[data-add]").await;
    page.fill("[name='windows[0].cron']", "never").await;
    page.click("[data-remove]").await;
    page.fill("[name='windows[0].cron']", "0 9 * *").await;
    page.fill("[name='windows[0].minutes']", "480").await;
    page.fill("[name='approvals.count']", "2").await;
    page.click("#change .primary").await;
    problem_at(&page, "[name='windows[0].cron']").await;
    page.fill("[name='windows[0].cron']", "0 9 * * MON-FRI").await;
    page.fill("[name='windows[0].timeZone']", "Asia/Nowhere").await;
    page.click("#change .primary").await;
    problem_at(&page, "[name='windows[0].timeZone']").await;
    page.fill("[name='windows[0].timeZone']", "Asia/Seoul").await;
    page.select("[name='windows[0].permits']", "switches").await;
    page.fill("[name='approvals.minutes']", "10081").await;
    page.call(json!(["evaluate", "document.querySelector('#change form').noValidate = true"])).await;
    page.click("#change .primary").await;
    assert!(problem_at(&page, "[name='approvals.minutes']").await.contains("10080"));
    page.fill("[name='approvals.minutes']", "60").await;
    page.click("[name='approvals.fourEyes']").await;
    page.click("#change .primary").await;
    page.visible("#change .done").await;
    let words = page.text("#policy").await;
    for part in [
        "Switches permitted",
        "0 9 * * MON-FRI (Asia/Seoul), for 8 h",
        "2 approvers",
        "may not approve",
        "1 h 0 min",
        "Version 1 by admin-test",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let stored = admin.get(&api, "/api/v1/policies/acme/shop").await.json();
    let newest: &Value = &stored["data"]["versions"][0];
    let window = json!([{"cron": "0 9 * * MON-FRI", "timeZone": "Asia/Seoul", "minutes": 480, "permits": "switches"}]);
    assert_eq!(
        (&newest["windows"], &newest["approvals"]),
        (&window, &json!({"count": 2, "fourEyes": true, "minutes": 60}))
    );
    page.fill("[name='approvals.count']", "3").await;
    page.click("#change .primary").await;
    page.visible("#version-1").await;
    page.goto(&format!("http://{}{PATH}", api.address)).await;
    page.click("#change > summary").await;
    page.click("#version-1 > summary").await;
    page.expect_fit("policy").await;
    page.goto(&format!("http://{}/policies", api.address)).await;
    assert!(page.text(".entry").await.contains("3 approvers"));
    page.expect_fit("policies").await;
}

#[tokio::test]
async fn policies__follow_roles_targets_and_languages() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let body = json!({"approvals": {"count": 2}});
    admin.put(&api, "/api/v1/policies/acme/shop", &body).await;
    let target = format!("{PATH}?accountId=123456789012&region=ap-northeast-2");
    let page = WebPage::open().await;
    let viewer = Token::scoped(&db.db, Role::Viewer, &["acme/shop"]).await;
    sign_in(&page, &api, &target, &viewer.secret).await;
    let text = page.text("main").await;
    assert!(text.contains("that of the repository is in force") && text.contains("2 approvers"), "{text}");
    assert_eq!((page.count("#change").await, page.count(".locked").await), (0, 1));
    let other = Token::scoped(&db.db, Role::Admin, &["acme/toys"]).await;
    page.profile(Display { locale: "ko-KR", dark: true, size: (360, 740), ..Display::default() }).await;
    sign_in(&page, &api, PATH, &other.secret).await;
    let text = page.text("main").await;
    assert!(text.contains("제한이 없습니다") && !text.contains('2'), "outside the scope there is no policy: {text}");
    page.profile(Display { locale: "ko-KR", dark: true, size: (360, 740), scripts: false }).await;
    sign_in(&page, &api, PATH, &admin.secret).await;
    let text = page.text("main").await;
    assert!(text.contains("승인자 2명") && !text.contains("policies."), "{text}");
    page.goto(&format!("http://{}/policies/acme/shop?accountId=1&region=eu-west-1", api.address)).await;
    assert!(page.text("main").await.contains("accountId"));
}

#[tokio::test]
async fn policies__given_and_missing_approvals_are_shown() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let body = json!({"approvals": {"count": 2, "minutes": 60}});
    admin.put(&api, "/api/v1/policies/acme/shop", &body).await;
    let mut ready = Fixture::begin(&db.db).await;
    ready.ready().await;
    let page = WebPage::open().await;
    let path = format!("/deployments/{}", ready.id());
    sign_in(&page, &api, &path, &Token::of(&db.db, Role::Approver).await.secret).await;
    assert!(page.text(".approvals").await.contains("0 of 2 approvals given"));
    page.click("[data-opens=switch-dialog]:text('Approve the switch')").await;
    page.click("#switch-dialog button.primary").await;
    page.visible(".approvals li:has-text('Approved by approver-test')").await;
    assert!(page.text("#switch-refused").await.contains("another approver is needed"));
    page.visible("[data-opens=switch-dialog]:disabled").await;
    assert!(page.text(".timeline").await.contains("Approved the switch, one of several"));
    page.expect_sound("one approval of two").await;
    page.screenshot("policies-approvals").await;
    page.profile(Display::default()).await;
    sign_in(&page, &api, &path, &admin.secret).await;
    page.click("[data-opens=switch-dialog]:text('Switch traffic')").await;
    page.click("#switch-dialog button.primary").await;
    page.visible("text=The traffic is moving").await;
}

/// Each kind of gate goes through the form and back, with what the API refuses at its field.
#[tokio::test]
async fn policies__gates_and_automatic_switch_have_fields() {
    let add = "[data-add]:text('Add a gate')";
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    fixture::github_connection(&db.db, "Acme", "Shop").await;
    let admin = Token::of(&db.db, Role::Admin).await;
    let page = WebPage::open().await;
    sign_in(&page, &api, PATH, &admin.secret).await;
    page.click(add).await;
    page.fill("[name='gates[0].name']", "ready").await;
    page.fill("[name='gates[0].http.path']", "/ready").await;
    page.click(add).await;
    page.fill("[name='gates[1].name']", "errors").await;
    page.select("[name='gates[1].kind']", "prometheus").await;
    page.select("[name='gates[1].at']", "bake").await;
    page.fill("[name='gates[1].prometheus.url']", "https://prometheus.example.com/").await;
    page.fill("[name='gates[1].prometheus.query']", "sum(errors)").await;
    page.fill("[name='gates[1].every']", "1").await;
    page.call(json!(["evaluate", "document.querySelector('#change form').noValidate = true"])).await;
    page.click("#change .primary").await;
    assert!(problem_at(&page, "[name='gates[1].every']").await.contains("3600"));
    page.fill("[name='gates[1].every']", "10").await;
    page.click("#change .primary").await;
    problem_at(&page, "[name='gates[1].prometheus.max']").await;
    page.expect_fit("gates").await;
    // Fields of another kind are not sent.
    page.select("[name='gates[1].kind']", "http").await;
    page.fill("[name='gates[1].http.path']", "/checkout").await;
    page.fill("[name='gates[1].http.contains']", "open").await;
    page.fill("[name='gates[1].failures']", "2").await;
    page.select("[name='gates[1].onFail']", "pause").await;
    page.click("#change .primary").await;
    problem_at(&page, "[name='gates[1].onFail']").await;
    page.select("[name='gates[1].onFail']", "notify").await;
    page.fill("[name=autoSwitch]", "soon").await;
    page.click("#change .primary").await;
    problem_at(&page, "[name=autoSwitch]").await;
    page.fill("[name=autoSwitch]", "when_gates_pass").await;
    page.click("#change .primary").await;
    page.visible("#change .done").await;
    let words = page.text("#policy").await;
    for part in [
        "Gate ready, before the switch",
        "/ready answers with 200-399.",
        "Gate errors, after the switch",
        "/checkout answers with 200-399 and contains \"open\".",
        "Measured every 10 s. Passed measurements needed: 1; failed ones that fail the gate: 2.",
        "A failure is an event only.",
        "its gates decide",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!words.contains('{'), "nothing is left as JSON: {words}");
    let stored = admin.get(&api, "/api/v1/policies/acme/shop").await.json();
    let newest: &Value = &stored["data"]["versions"][0];
    assert_eq!(newest["autoSwitch"], "when_gates_pass");
    let gate = json!({"name": "errors", "at": "bake", "every": 10, "times": 1, "failures": 2, "noData": "wait", "onFail": "notify",
                      "http": {"path": "/checkout", "codes": "200-399", "contains": "open"}});
    assert_eq!(newest["gates"][1], gate);
    // The form begins with what is stored, so that a change of one field changes nothing else.
    page.goto(&format!("http://{}{PATH}", api.address)).await;
    page.click("#change > summary").await;
    page.fill("[name='gates[0].every']", "60").await;
    page.click("#change .primary").await;
    page.visible("#version-1").await;
    let stored = admin.get(&api, "/api/v1/policies/acme/shop").await.json();
    let versions = &stored["data"]["versions"];
    let kept = |version: usize| (&versions[version]["gates"][1], &versions[version]["autoSwitch"]);
    assert_eq!((versions[0]["gates"][0]["every"].as_u64(), kept(0)), (Some(60), kept(1)));
    page.profile(Display { locale: "ko-KR", dark: true, size: (360, 740), ..Display::default() }).await;
    sign_in(&page, &api, PATH, &admin.secret).await;
    page.click("#change > summary").await;
    page.expect_fit("gates").await;
    let text = page.text("main").await;
    assert!(text.contains("게이트 errors (전환 후 관찰)") && !text.contains("policies."), "{text}");
}
