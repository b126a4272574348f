//! Schedules from their creation to their deletion.

use super::{Installation, browser, problem_at};

#[tokio::test]
async fn schedules__created_changed_run_and_deleted() {
    let installation = Installation::empty().await;
    installation.connect().await;
    let page = browser().await;
    page.goto(&installation.url("/schedules")).await;
    assert!(page.text("main").await.contains("There are no schedules."));
    page.until("document.querySelector('[name=timeZone]').value === 'Asia/Seoul'").await;
    page.expect_sound("no schedules").await;
    page.fill("[name=name]", "nightly").await;
    page.fill("[name=cron]", "61 * * * *").await;
    page.click("[data-start]").await;
    assert!(problem_at(&page, "[name=cron]").await.contains("61"));
    page.fill("[name=cron]", "30 6 * * MON-FRI").await;
    page.fill("[name=timeZone]", "Asia/Nowhere").await;
    page.click("[data-start]").await;
    problem_at(&page, "[name=timeZone]").await;
    page.fill("[name=timeZone]", "Asia/Seoul").await;
    page.fill("[name=\"deploy.branch\"]", "a..b").await;
    page.click("[data-start]").await;
    problem_at(&page, "[name=\"deploy.branch\"]").await;
    page.fill("[name=\"deploy.branch\"]", "main").await;
    page.click("[data-start]").await;
    page.until("location.pathname.startsWith('/schedules/sch_')").await;
    let address = page.url().await;
    assert_eq!(page.count(".times li").await, 5);
    page.expect_axe("a schedule").await;
    page.screenshot("start-schedule").await;

    page.click("#pause button").await;
    page.visible("#resume button").await;
    assert_eq!(page.count(".times li").await, 0);
    page.click("#resume button").await;
    page.visible(".times li").await;
    page.click("#change > summary").await;
    page.fill("#change [name=cron]", "@daily").await;
    page.click("#change [data-start]").await;
    page.visible("#change .done").await;
    assert!(page.text(".facts").await.contains("0 0 * * *"));

    page.click("#run button").await;
    page.until("location.pathname.startsWith('/deployments/dep_')").await;
    let started = installation.deployments().await;
    assert_eq!(started.len(), 1);
    page.goto(&address).await;
    page.visible(".result-started").await;
    assert!(page.text("table").await.contains(&started[0]));
    page.goto(&installation.url("/schedules")).await;
    assert!(page.text(".row").await.contains("nightly"));
    page.expect_axe("schedules").await;
    page.click(".row [data-open]").await;
    page.click("#delete button").await;
    page.until("location.pathname === '/schedules'").await;
    page.visible(".empty").await;
}
