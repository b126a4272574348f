//! The list of deployments.

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda_testing::web_page::{Display, WebPage};
use serde_json::json;

use crate::http::fixture::Fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn list__shows_targets_and_deployments_and_follows_them() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let page = WebPage::open().await;
    page.goto(&format!("http://{}/", api.address)).await;
    assert!(page.text("main").await.contains("There are no deployments yet"));
    page.expect_sound("empty list").await;

    let mut live = Fixture::begin(&db.db).await;
    live.tell(vec![Event::new(EventCode::CloneStarted)]).await;
    page.visible(".row .badge.running").await;
    live.complete().await;
    page.visible(".row .badge.completed").await;
    assert!(page.text(".target").await.contains("acme/shop"));
    page.expect_fit("list").await;

    page.call(json!(["press", "/"])).await;
    page.fill("input[name=q]", "SHOP").await;
    page.press("Enter").await;
    page.until("location.search.includes('q=SHOP')").await;
    assert_eq!(page.count(".row").await, 1);
    page.press("Escape").await;
    page.goto(&format!("http://{}/?q=nothing", api.address)).await;
    assert_eq!(page.count(".row").await, 0);

    page.profile(Display { locale: "ko-KR", dark: true, size: (360, 740), scripts: false }).await;
    page.goto(&format!("http://{}/", api.address)).await;
    assert_eq!(page.text("h1").await, "배포");
    assert!(page.text("noscript").await.contains("JavaScript"));
    assert_eq!(page.count(".row").await, 1);
}
