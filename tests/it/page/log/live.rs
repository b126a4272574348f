//! The log while it grows: follow mode, selections, restarts, and 50,000 lines.

use panda_testing::readers::nginx::Nginx;

use super::*;
use crate::support::wait_for;

/// True while the end of the log is visible.
const AT_END: &str = "(() => { const log = document.querySelector('.log-lines'); return log.scrollTop + log.clientHeight >= log.scrollHeight - 4; })()";

/// A position in the log that changes when it scrolls.
const TOP: &str = "document.querySelector('.log-lines').scrollTop";

async fn is_following(page: &WebPage) -> bool {
    page.attribute(".log-following", "aria-pressed").await.as_deref() == Some("true")
}

/// Emits lines, and waits until the last one was received by the page.
async fn lines(page: &WebPage, fixture: &mut Fixture, from: usize, to: usize) {
    fixture.tell((from..=to).map(|n| of_step(n, 1, &format!("line {n}"))).collect()).await;
    page.until(&format!("document.querySelector('log-view').lastText === 'line {to}'")).await;
}

#[tokio::test]
async fn log__follows_until_the_reader_scrolls_up() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell((1..=300).map(|n| of_step(n, 1, &format!("line {n}"))).collect()).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    assert!(is_following(&page).await);
    page.until(AT_END).await;
    lines(&page, &mut fixture, 301, 340).await;
    page.until(AT_END).await;

    // One by one, over the border of a block.
    for n in 341..=360 {
        lines(&page, &mut fixture, n, n).await;
        page.visible(&format!(".line .text:text-is('line {n}')")).await;
    }

    page.call(json!(["hover", ".log-lines"])).await;
    page.call(json!(["wheel", -400])).await;
    page.until("document.querySelector('.log-following').ariaPressed === 'false'").await;
    page.until(&format!("!{AT_END}")).await;
    let top: f64 = page.evaluate(TOP).await;
    lines(&page, &mut fixture, 361, 500).await;
    assert!((page.evaluate::<f64>(TOP).await - top).abs() < 1.0, "the position moved");
    // Folding a group may bring the end into view, which is no act of the reader.
    page.click(".group.step > .group-head").await;
    page.until(AT_END).await;
    assert!(!is_following(&page).await);
    page.click(".group.step > .group-head").await;
    lines(&page, &mut fixture, 501, 520).await;
    assert!(!is_following(&page).await);
    // Scrolling to the end follows again, and so does the button.
    page.call(json!(["hover", ".log-lines"])).await;
    page.call(json!(["wheel", 100_000])).await;
    page.until("document.querySelector('.log-following').ariaPressed === 'true'").await;
    lines(&page, &mut fixture, 521, 560).await;
    page.until(AT_END).await;
    page.evaluate::<Value>("document.querySelector('.log-lines').focus()").await;
    page.press("PageUp").await;
    page.until("document.querySelector('.log-following').ariaPressed === 'false'").await;
    press(&page, "Follow").await;
    assert!(is_following(&page).await);
    page.until(AT_END).await;
    page.expect_sound("followed log").await;
}

#[tokio::test]
async fn log__selection_survives_new_lines() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell((1..=400).map(|n| of_step(n, 1, &format!("line {n}"))).collect()).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    let select = "(() => { const text = (n) => document.querySelector(`.line .n[data-n='${n}']`).parentElement.querySelector('.text').firstChild; \
                  getSelection().setBaseAndExtent(text(396), 5, text(398), 4); return getSelection().toString(); })()";
    page.visible(".line .n[data-n='398']").await;
    let selected: String = page.evaluate(select).await;
    assert_eq!(selected.split_whitespace().collect::<Vec<_>>(), ["396", "line", "397", "line"]);
    // Far enough for the selected rows to be out of sight, while following.
    lines(&page, &mut fixture, 401, 1_500).await;
    assert_eq!(page.evaluate::<String>("getSelection().toString()").await, selected);
    let copied = "(() => { const data = new DataTransfer(); \
                  document.querySelector('.log-lines').dispatchEvent(new ClipboardEvent('copy', { clipboardData: data, bubbles: true, cancelable: true })); \
                  return data.getData('text/plain'); })()";
    assert_eq!(page.evaluate::<String>(copied).await, "396\nline 397\nline");
    // A selection over rows without elements is copied as a whole.
    let far = "(() => { const row = document.querySelectorAll('.line'); const last = row[row.length - 1].querySelector('.text').firstChild; \
               getSelection().extend(last, last.length); })()";
    page.visible(".line .n[data-n='1500']").await;
    page.evaluate::<Value>(far).await;
    let copied: String = page.evaluate(copied).await;
    assert_eq!(copied.lines().count(), 1_500 - 396 + 1);
    assert!(copied.starts_with("396\nline 397") && copied.ends_with("line 1499\nline 1500"), "{}", copied.len());
}

/// Kills the server while lines arrive, twice: the page shows each line once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log__complete_after_the_server_is_killed() {
    const LINES: usize = 3_000;
    let db = TestDb::new().await;
    let replica = Panda::builder().on(&db).process();
    let mut first = replica.ready().await;
    let mut second = replica.ready().await;
    let settings = format!(
        "location / {{ proxy_pass http://panda; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host; \
         proxy_buffering off; proxy_next_upstream error timeout; }}\n}}\nupstream panda {{ server {} max_fails=0; server {} max_fails=0 backup;",
        first.listen, second.listen
    );
    let nginx = Nginx::serving(&settings).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let page = WebPage::open().await;
    page.goto(&format!("{}/deployments/{}/log", nginx.url, fixture.id())).await;
    page.visible("log-view[data-complete]").await;
    for from in (1..=LINES).step_by(50) {
        fixture.tell((from..from + 50).map(|n| of_step(n, 1, &format!("line {n}"))).collect()).await;
        match from {
            601 => first.kill().await,
            1_201 => page.until("document.querySelector('log-view').count > 700").await,
            1_801 => {
                first = replica.clone().listen(first.listen).ready().await;
                second.kill().await;
            }
            _ => {}
        }
    }
    fixture.fail().await;
    page.until(&format!("document.querySelector('log-view').count >= {}", LINES + 1)).await;
    let texts: Vec<String> = page.evaluate("document.querySelector('log-view').texts").await;
    let expected: Vec<String> = (1..=LINES).map(|n| format!("line {n}")).collect();
    assert!(texts[..LINES] == expected[..], "each line once, in order");
    assert_eq!(texts.len(), LINES + 1);
    wait_for("the page is connected again", async || page.count("connection-state:visible").await == 0).await;
}

#[tokio::test]
async fn log__fifty_thousand_lines() {
    const LINES: usize = 50_000;
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    for from in (1..=LINES).step_by(1_000) {
        let line = |n| {
            of_step(n, 1, &format!("line {n}: compiling src/module_{}/file_{n}.rs with all warnings as errors", n % 97))
        };
        fixture.tell((from..from + 1_000).map(line).collect()).await;
    }
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    assert_eq!(page.evaluate::<usize>("document.querySelector('log-view').count").await, LINES);
    // Few rows have elements, wherever one scrolls.
    for part in 0..=10 {
        page.evaluate::<Value>(&format!("document.querySelector('.log-lines').scrollTop = {part} / 10 * document.querySelector('.log-lines').scrollHeight")).await;
        page.until("[...document.querySelectorAll('.line')].some((row) => { const place = row.getBoundingClientRect(); return place.top > 200 && place.bottom < 800; })").await;
        assert!(page.count(".line").await < 1_500);
    }
    page.fill(".log-search", "FILE_4999").await;
    assert_eq!(page.text(".log-count").await, "11 found");
    page.expect_sound("50,000 lines").await;
}
