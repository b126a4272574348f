//! A deployment from the form to COMPLETED by clicking, while the server is killed.

use panda_testing::web_page::{Display, WebPage};
use serde_json::{Value, json};

use crate::support::api_client::ApiClient;
use crate::support::environment::{Environment, hello};
use crate::support::panda::Panda;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow__from_the_form_to_completed_over_a_killed_server() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let replica = Panda::builder().environment(&env).process();
    let mut panda = replica.ready().await;
    let client = ApiClient::of(panda.url.clone());
    client.connect(&env).await;
    let page = WebPage::open().await;
    page.call(json!(["accept_dialogs"])).await;
    page.goto(&format!("{}/new", panda.url)).await;
    page.visible(".check-summary .check-ready").await;
    page.fill("[name=reason]", "by clicking").await;
    page.click("[data-start]").await;
    page.until("location.pathname.startsWith('/deployments/dep_')").await;
    let id = page.url().await.rsplit('/').next().unwrap().to_owned();

    page.until("document.querySelector('log-view').count > 5").await;
    panda.kill().await;
    // The page reports the outage, and recovers by itself.
    page.visible("connection-state").await;
    panda = replica.listen(panda.listen).ready().await;
    page.gone("connection-state").await;

    page.click("[data-opens=switch-dialog]").await;
    page.screenshot("flow-switch-dialog").await;
    page.click("#switch-dialog button.primary").await;
    page.visible(".heading .badge.completed").await;
    page.visible(".traffic .side-green:text('Green 100 %')").await;
    // Every event is a line of the log, once.
    let (_, result) = client.get(&format!("/deploy/{id}/result")).await;
    let events = result["data"]["eventCount"].as_u64().unwrap();
    page.until(&format!("document.querySelector('log-view').count === {events}")).await;
    page.until("[...document.querySelectorAll('.timeline li')].some((entry) => entry.innerText.includes('Approved the switch'))").await;
    page.expect_no_complaints_but(&["Failed to load resource", "ERR_"], "a deployment over a restart").await;
    page.call(json!(["forget_complaints"])).await;
    page.expect_sound("completed").await;

    page.goto(&format!("{}/", panda.url)).await;
    assert!(page.text(".target").await.contains(&env.repo), "the deployment is live");
    page.profile(Display { locale: "ko-KR", dark: true, size: (768, 1024), scripts: true }).await;
    page.goto(&format!("{}/deployments/{id}", panda.url)).await;
    page.visible("log-view[data-complete]").await;
    page.expect_sound("completed, in Korean, dark").await;
    let lines: Value = page.evaluate("document.querySelector('log-view').count").await;
    assert_eq!(lines, json!(events));
    page.screenshot("flow-completed-768-dark-ko").await;
}
