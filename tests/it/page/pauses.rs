//! The pauses of a canary rollout of ECS: each is shown, approved and named with its approver, and the traffic moves while one looks.

use panda_sandbox::RolloutStyle;
use panda_testing::web_page::{Display, WebPage};
use serde_json::{Value, json};

use crate::reconcile::status;
use crate::support::environment::{Environment, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses__each_approved_by_itself_while_the_traffic_moves() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let canary = RolloutStyle::Canary { percent: 20 };
    env.sandbox.faults().update(|faults| _ = faults.rollouts.insert("*".to_owned(), canary));
    let panda = Panda::builder().environment(&env).flags(&["--watch-interval-ms=300"]).server().await;
    wait_for("the server is ready", async || panda.is_ready().await).await;
    let id = panda.deploy(&panda.connect(&env).await).await;
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    let page = WebPage::open().await;
    page.goto(&format!("{}/deployments/{id}", panda.base)).await;
    page.evaluate::<()>("void document.addEventListener('panda:connection', (event) => { document.body.dataset.seen += event.detail; })")
        .await;
    page.visible(".pauses li.awaiting").await;
    let first = page.text(".pauses").await;
    for part in ["awaits approval", "green has 0 %", "AWS ends the wait in", "without an approval AWS rolls back then"]
    {
        assert!(first.contains(part), "{part}: {first}");
    }
    page.click("[data-opens=switch-dialog]").await;
    let reviewed = page.attribute("#switch-dialog [name=pause]", "value").await.unwrap();
    assert!(page.text("#switch-dialog").await.contains("Approves pause 1"));
    page.click("#switch-dialog button.primary").await;

    page.visible(".pauses li:nth-child(2).awaiting").await;
    page.visible(".pauses li:nth-child(1).approved").await;
    page.visible(".traffic .side-green:text('Green 20 %')").await;
    let both = page.texts(".pauses li").await;
    assert!(both[0].contains("Approved by a caller without sign-in") && both[1].contains("green has 20 %"), "{both:?}");
    // Who reviewed the first pause does not approve the second one.
    let (late, problem) = panda.post(&format!("/deploy/{id}/switch"), &json!({"pause": reviewed})).await;
    assert_eq!((late.as_u16(), &problem["errorCode"]), (409, &json!("PAUSE_CHANGED")), "{problem}");
    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    let pauses: &Vec<Value> = result["data"]["pauses"].as_array().unwrap_or_else(|| panic!("{result}"));
    let second = &pauses[1];
    assert_eq!((pauses.len(), &second["greenWeight"], &second["timeoutAction"]), (2, &json!(20.0), &json!("ROLLBACK")));
    assert_ne!(second["pauseId"], json!(reviewed));
    page.visible("log-view[data-complete]").await;
    page.expect_fit("pauses").await;

    page.click("[data-opens=switch-dialog]").await;
    assert!(page.text("#switch-dialog").await.contains("Approves pause 2"));
    page.screenshot("pauses-dialog").await;
    page.click("#switch-dialog button.primary").await;
    page.visible(".heading .badge.completed").await;
    page.visible(".traffic .side-green:text('Green 100 %')").await;
    assert_eq!(page.count(".pauses li.approved").await, 2);
    page.expect_no_complaints("a canary").await;
    let seen = page.evaluate::<String>("document.body.dataset.seen ?? ''").await;
    assert!(!seen.contains("away"), "a stream that ends at a pause is no unreachable server: {seen}");
    page.profile(Display { locale: "ko-KR", size: (360, 740), dark: true, scripts: false }).await;
    page.goto(&format!("{}/deployments/{id}", panda.base)).await;
    assert!(page.text(".pauses").await.contains("승인됨"));
    panda.stop().await;
}
