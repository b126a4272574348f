//! The history: figures as in the API's reports, its filters, and the limits of reports.

use panda::domain::principal::Role;
use panda_testing::web_page::{Display, WebPage};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::http::auth::{Token, serve};
use crate::http::fixture::{aws_connection, github_connection};
use crate::http::{Api, unreachable_db};
use crate::report::figures;
use crate::support::db::TestDb;
use crate::support::wait_for;

/// 400 days of deployments, a few of which waited in the queue.
async fn filled(deployments: usize) -> TestDb {
    let test = TestDb::new().await;
    let sql = include_str!("../../../benches/report/fill.sql")
        .replace("{deployments}", &deployments.to_string())
        .replace("{events}", "1")
        .replace("{github}", &github_connection(&test.db, "acme", "shop").await)
        .replace("{aws}", &aws_connection(&test.db).await);
    let mut psql = test.psql().await;
    psql.execute(AssertSqlSafe(sql)).await.unwrap();
    let waits = "UPDATE deployments SET queued_at = started_at, attempt_started_at = started_at + interval '4 minutes' * (1 + length(id || repo) % 3),
                                        turn_at = started_at + interval '4 minutes' WHERE repo LIKE 'service-1%' AND status = 'COMPLETED'";
    psql.execute(waits).await.unwrap();
    test.db.rebuild_reports().await.unwrap();
    test
}

fn whole(text: &str) -> i64 {
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// The sum of a column of the rows in a CSV file.
fn csv_sum(csv: &str, column: &str) -> i64 {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|name| *name == column).unwrap();
    lines.map(|cells| cells[at].parse::<i64>().unwrap()).sum()
}

async fn csv(api: &Api, page: &WebPage, panel: &str) -> String {
    let address = page.attribute(&format!("{panel} a[download]"), "href").await.unwrap();
    let answer = api.get(&address).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("content-type").starts_with("text/csv"), "{:?}", answer.headers);
    assert!(answer.header("content-disposition").ends_with(".csv\""), "{:?}", answer.headers);
    answer.text
}

/// The figures of a column of a panel's table.
async fn cells(page: &WebPage, panel: &str, column: usize) -> Vec<i64> {
    let cells: Vec<String> = page
        .evaluate(&format!(
            "[...document.querySelectorAll('{panel} tbody tr')].map((row) => row.children[{column}].textContent)"
        ))
        .await;
    cells.iter().map(|text| whole(text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history__shows_what_reports_answer() {
    let test = Box::pin(filled(4_000)).await;
    let api = Api::serve(&test.db).await;
    let page = WebPage::open().await;
    page.goto(&format!("http://{}/history?days=30&tz=UTC", api.address)).await;
    page.expect_sound("history").await;

    let results = csv(&api, &page, "#results-by-day").await;
    let completed = csv_sum(&results, "completed");
    assert!(completed > 150, "{results}");
    assert_eq!(cells(&page, "#results-by-day", 1).await.iter().sum::<i64>(), completed);
    assert_eq!(page.count("#results-by-day .slot").await, 30, "days without a deployment have their place");
    assert_eq!(whole(&page.text(".figure:nth-child(1) dd:nth-of-type(2)").await), completed);
    assert_eq!(page.count(".figure .trend span:first-child").await, 5);

    let failures = csv(&api, &page, "#failures").await;
    assert_eq!(cells(&page, "#failures", 3).await.iter().sum::<i64>(), csv_sum(&failures, "failed_attempts"));
    assert!(page.text("#failures tbody").await.contains("BUILD_FAILED"));
    assert_eq!(page.count("#failures tbody tr").await, failures.lines().count() - 1);
    for (panel, rows) in [("lead-time-phases", 6), ("slowest-stages", 6), ("queue", 10)] {
        assert_eq!(page.count(&format!("#{panel} tbody tr")).await, rows, "{panel}");
        assert!(page.count(&format!("#{panel} .bar rect")).await >= rows / 2, "{panel}");
    }
    let phases = csv(&api, &page, "#lead-time-phases").await;
    let mean =
        |column| phases.lines().skip(1).map(move |row| row.split(',').nth(column).unwrap().parse::<f64>().unwrap());
    let sql = format!(
        "SELECT avg(lead_time_seconds) FROM panda_report.deployments_v1 WHERE completed_at >= {}",
        "now() - interval '30 days'"
    );
    let lead: f64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut test.psql().await).await.unwrap();
    let sum: f64 = mean(2).sum();
    // The period of the view begins at midnight.
    assert!((sum / lead - 1.0).abs() < 0.1, "{sum} {lead}");
    look_at_all_sizes(&page, &api, "history", "/history?days=30&tz=UTC").await;

    // Long periods have wider slots, and the view still has every deployment.
    page.goto(&format!("http://{}/history?from=2020-01-01&tz=UTC", api.address)).await;
    let slots = page.count("#results-by-day .slot").await;
    assert!((60..130).contains(&slots), "{slots}");
    page.expect_sound("years").await;
}

/// Screenshots for people, and the accessibility rules, in every size and theme.
async fn look_at_all_sizes(page: &WebPage, api: &Api, name: &str, path: &str) {
    for (width, dark) in [(360, false), (360, true), (768, false), (768, true), (1440, false), (1440, true)] {
        page.profile(Display { locale: "en-US", dark, size: (width, 900), scripts: true }).await;
        page.goto(&format!("http://{}{path}", api.address)).await;
        let theme = if dark { "dark" } else { "light" };
        page.screenshot(&format!("{name}-{width}-{theme}")).await;
        page.expect_sound(&format!("{name} at {width} {theme}")).await;
        let overflow: bool = page.evaluate("document.documentElement.scrollWidth > innerWidth").await;
        assert!(!overflow, "{name} is wider than {width}");
    }
}

#[tokio::test]
async fn history__period_zone_and_repository_are_in_the_address() {
    let test = figures::filled().await;
    let api = Api::serve(&test.db).await;
    let page = WebPage::open().await;
    // The browser of tests is in Seoul.
    page.goto(&format!("http://{}/history", api.address)).await;
    page.until("location.search.includes('tz=Asia%2FSeoul')").await;
    page.click(".periods a >> nth=2").await;
    page.until("location.search === '?days=90&tz=Asia%2FSeoul'").await;
    page.fill("input[name=repo]", "shop").await;
    page.fill("input[name=from]", "2026-01-01").await;
    page.fill("input[name=to]", "2026-01-31").await;
    page.click(".filters button").await;
    page.until("location.search.includes('from=2026-01-01') && location.search.includes('repo=shop')").await;
    assert_eq!(whole(&page.text(".figure dd:nth-of-type(2)").await), 3, "a1, a3, a6");
    assert!(page.text(".covers").await.contains("2026-01-01 to 2026-01-31 (Asia/Seoul)"));
    page.click(".filters a").await;
    page.until("!location.search.includes('repo=')").await;
    // c2 was completed on 31 January in UTC, and on 1 February in Seoul.
    assert_eq!(whole(&page.text(".figure dd:nth-of-type(2)").await), 4);
    page.goto(&format!("http://{}/history?from=2026-01-01&to=2026-01-31&tz=UTC", api.address)).await;
    assert_eq!(whole(&page.text(".figure dd:nth-of-type(2)").await), 5);
    let api_days = "/api/v1/reports/results-by-day?since=2026-01-01&until=2026-03-01&timeZone=Asia/Seoul&format=csv";
    // b1 failed at 19:00 of 6 January in Seoul; c1 was completed at 05:00 of the 7th.
    let rows = "day,completed,failed,stopped\n2026-01-05,1,1,0\n2026-01-06,1,1,2\n2026-01-07,2,0,0\n2026-02-01,1,0,0\n";
    assert_eq!(api.get(api_days).await.text, rows);

    page.goto(&format!("http://{}/history?tz=Mars", api.address)).await;
    assert!(page.text("main").await.contains("tz: must be a time zone"), "{}", page.text("main").await);
}

#[tokio::test]
async fn history__limited_to_scope() {
    let test = figures::filled().await;
    let api = serve(&test.db).await;
    let token = Token::scoped(&test.db, Role::Viewer, &["acme/*"]).await;
    let page = WebPage::open().await;
    page.call(json!(["headers", {"authorization": format!("Bearer {}", token.secret)}])).await;
    let period = "from=2026-01-01&to=2026-02-28&tz=UTC";
    page.goto(&format!("http://{}/history?{period}", api.address)).await;
    assert_eq!(whole(&page.text(".figure dd:nth-of-type(2)").await), 3);
    assert_eq!(cells(&page, "#results-by-day", 1).await.iter().sum::<i64>(), 3);
    page.goto(&format!("http://{}/history?{period}&owner=other", api.address)).await;
    assert_eq!(whole(&page.text(".figure dd:nth-of-type(2)").await), 0);
    assert_eq!(page.count(".panel .empty").await, 6);
}

#[tokio::test]
async fn history__empty_installation_and_one_deployment_read_well() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let page = WebPage::with(Display { locale: "ko-KR", dark: true, size: (360, 740), scripts: false }).await;
    page.goto(&format!("http://{}/history", api.address)).await;
    assert_eq!(page.text("h1").await, "이력");
    assert!(page.text(".covers").await.contains("(UTC)"));
    assert_eq!(page.count(".panel .empty").await, 6);
    page.screenshot("history-empty-360-dark-ko").await;

    let mut one = crate::http::Fixture::begin(&db.db).await;
    one.complete().await;
    let long = "UPDATE deployments SET error_code = repeat('VERY_LONG_CODE_', 8), error_message = 'x', completed_at = clock_timestamp() WHERE id = $1";
    let mut failed = crate::http::Fixture::begin(&db.db).await;
    failed.fail().await;
    sqlx::query(long).bind(failed.id()).execute(&mut db.psql().await).await.unwrap();
    page.profile(Display { locale: "ko-KR", dark: false, size: (360, 740), scripts: true }).await;
    page.goto(&format!("http://{}/history?days=7", api.address)).await;
    page.expect_sound("one deployment").await;
    assert!(!page.evaluate::<bool>("document.documentElement.scrollWidth > innerWidth").await);
    page.screenshot("history-one-360-light-ko").await;
    Api::serve(&unreachable_db()).await.get("/history").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history__busy_reports_offer_a_retry_and_slow_ones_say_so() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let page = WebPage::open().await;
    let mut locker = db.psql().await;
    locker.execute("BEGIN; LOCK TABLE report_attempts IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let address = format!("http://{}/history?tz=Asia%2FSeoul", api.address);
    let slow = reqwest::Client::new().get(&address).header("accept-language", "en");
    let slow = tokio::spawn(slow.send());
    let mut psql = db.psql().await;
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait_for("the first view waits for the table", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut psql).await.unwrap() > 0
    })
    .await;
    page.goto(&address).await;
    let violations: Value = page.call(json!(["axe"])).await;
    assert_eq!(violations, json!([]));
    page.screenshot("history-busy").await;
    page.visible("text=Try again").await;
    // Two reports of the first view reach their limit of eight seconds, and the others do not begin.
    let html = slow.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(html.matches("This report exceeded its time limit").count(), 7, "{html}");
    locker.execute("ROLLBACK").await.unwrap();
    page.click("text=Try again").await;
    page.visible(".figures").await;
}

#[tokio::test]
async fn history__prints_without_controls() {
    let test = figures::filled().await;
    let api = Api::serve(&test.db).await;
    let page = WebPage::open().await;
    for (view, path) in [("list", "/"), ("history", "/history?from=2026-01-01&to=2026-01-31&tz=UTC")] {
        page.goto(&format!("http://{}{path}", api.address)).await;
        page.call(json!(["media", {"media": "print"}])).await;
        for control in [".top nav", ".filters", "main button"] {
            page.gone(control).await;
        }
        page.screenshot(&format!("print-{view}")).await;
        let pdf = panda_testing::web_page::screenshots().join(format!("{view}.pdf"));
        page.call(json!(["pdf", pdf])).await;
        assert!(std::fs::read(&pdf).unwrap().starts_with(b"%PDF-"), "{view}");
        page.call(json!(["media", {"media": "screen"}])).await;
    }
}
