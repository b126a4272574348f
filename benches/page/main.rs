//! Measures the web page in Chromium with the browser's own API, on loopback: `make bench-page`.
//!
//! The release program on a durable Postgres; a deployment with 50,000 lines of output in one running step of its build, so that all lines are
//! unfolded; `panda_testing::web_page` drives the browser. Frames are intervals of `requestAnimationFrame` while the mouse wheel turns. The memory is the
//! renderer's private memory (`/proc/PID/smaps_rollup`), of which the heap of JavaScript is a part. An event is on screen after the frame that contains its
//! row; the clock starts when the commit has returned.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use panda::db::commit::Change;
use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda_benches::figures::{head, line, median, number, percentile};
use panda_benches::postgres::Server;
use panda_benches::process::Panda;
use panda_benches::rows;
use panda_testing::web_page::WebPage;
use serde_json::{Value, json};

/// Events whose way to the screen is measured.
const EVENTS: usize = 150;
/// Views for the processor time of one.
const VIEWS: u32 = 200;
/// Repetitions of what is measured once a page.
const TIMES: usize = 5;

/// Intervals between frames, from now on.
const WATCH_FRAMES: &str = "(() => { window.frames_seen = []; let last = performance.now(); \
    const next = (now) => { window.frames_seen.push(now - last); last = now; if (window.frames_seen) requestAnimationFrame(next); }; \
    requestAnimationFrame((now) => { last = now; requestAnimationFrame(next); }); })()";

/// The time at which each new row's frame was shown, by its text.
const WATCH_ROWS: &str = "(() => { window.rows_seen = {}; new MutationObserver((records) => { for (const { addedNodes } of records) for (const row of addedNodes) { \
    const text = row.querySelector?.('.text')?.textContent; if (text?.startsWith('event ')) requestAnimationFrame(() => { \
    const { port1, port2 } = new MessageChannel(); port1.onmessage = () => { window.rows_seen[text] = performance.timeOrigin + performance.now(); }; port2.postMessage(0); }); } }) \
    .observe(document.querySelector('.log-content'), { childList: true, subtree: true }); })()";

fn output(number: usize, text: String) -> Event {
    Event::new(EventCode::BuildProgress).with("message", text).with("step", 1).keyed(number)
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1_000.0
}

#[tokio::main]
async fn main() {
    let lines: usize = number("PANDA_BENCH_LINES", 50_000);
    let server = Server::start().await;
    let database = server.database().await;
    let db = &database.db;
    let (me, mut owned) = rows::own(db, "shop", 1).await;
    let mut row = owned.remove(0);
    for from in (1..=lines).step_by(1_000) {
        let text = |n: usize| {
            format!("line {n}: gcc -O2 -Wall -c src/module_{}/file_{n}.c -o build/module_{}/file_{n}.o", n % 97, n % 97)
        };
        let events = (from..from + 1_000).map(|n| output(n, text(n))).collect();
        db.commit(&mut row, me, Change { events, ..Change::default() }).await.unwrap();
    }
    rows::create_of(db, "other", 60).await;
    database.settle().await;
    let panda = Panda::start(&database.url).await;
    let log = format!("{}/deployments/{}/log", panda.base, row.id);

    let list = list_view(&panda.base).await;
    let page = WebPage::open().await;
    let mut opened = Vec::new();
    for _ in 0..TIMES {
        page.goto("about:blank").await;
        page.goto(&log).await;
        page.visible("log-view[data-complete]").await;
        opened.push(page.evaluate::<f64>("performance.getEntriesByName('panda:log')[0].startTime").await);
    }
    assert_eq!(page.evaluate::<usize>("document.querySelector('log-view').count").await, lines);

    let frames = scrolling(&page).await;
    let searches = searching(&page).await;
    let memory: Value = page.call(json!(["memory"])).await;

    page.evaluate::<Value>(WATCH_ROWS).await;
    follow(&page).await;
    let mut shown = Vec::new();
    for n in 0..EVENTS {
        let text = format!("event {n}");
        rows::append(
            db,
            &mut row,
            me,
            Change { events: vec![output(lines + 1 + n, text.clone())], ..Change::default() },
        )
        .await;
        let committed = now_ms();
        db.notify_events(std::slice::from_ref(&row.id)).await.unwrap();
        page.until(&format!("window.rows_seen['{text}']")).await;
        shown.push(page.evaluate::<f64>(&format!("window.rows_seen['{text}']")).await - committed);
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    let cpu = [processor_time(&panda, &format!("{}/", panda.base)).await, processor_time(&panda, &log).await];

    let heap = memory["heap"].as_f64().unwrap() / 1e6;
    let private = memory["private"].as_f64().unwrap() / 1e6;
    let (open, longest, search) = (median(&opened), percentile(&frames, 1.0), percentile(&searches, 1.0));
    let (p50, p95) = (median(&shown), percentile(&shown, 0.95));
    head();
    line("list: first contentful paint, median", format!("{:.0} ms", list.0), "300 ms");
    line("list: interactive, median", format!("{:.0} ms", list.1), "500 ms");
    line(&format!("open {lines} lines, median of {TIMES}"), format!("{open:.0} ms"), "1000 ms");
    line(&format!("longest of {} frames while scrolling", frames.len()), format!("{longest:.0} ms"), "50 ms");
    line("frame while scrolling, 99th percentile", format!("{:.0} ms", percentile(&frames, 0.99)), "");
    line("private memory of the tab's process", format!("{private:.0} MB"), "150 MB");
    line("heap of JavaScript", format!("{heap:.0} MB"), "");
    line("longest search", format!("{search:.0} ms"), "200 ms");
    line(&format!("commit to screen, median of {EVENTS}"), format!("{p50:.0} ms"), "");
    line("commit to screen, 95th percentile", format!("{p95:.0} ms"), "100 ms");
    line("processor time for a view of the list", format!("{:.1} ms", cpu[0]), "10 ms");
    line("processor time for a view of the log", format!("{:.1} ms", cpu[1]), "10 ms");
    println!(
        "{}",
        json!({
            "lines": lines, "list_fcp_ms": list.0, "list_interactive_ms": list.1, "open_ms": opened, "longest_frame_ms": longest, "frames": frames.len(),
            "private_mb": private, "heap_mb": heap, "search_ms": searches, "screen_p50_ms": p50, "screen_p95_ms": p95, "list_cpu_ms": cpu[0], "log_cpu_ms": cpu[1],
        })
    );
}

/// Turns follow mode on, which scrolling has turned off.
async fn follow(page: &WebPage) {
    if page.attribute(".log-following", "aria-pressed").await.as_deref() != Some("true") {
        page.click(".log-following").await;
    }
}

/// Times of searches over all lines, in milliseconds; leaves the search empty.
async fn searching(page: &WebPage) -> Vec<f64> {
    let mut searches = Vec::new();
    for text in ["file_4", "gcc", "module_13", "no such text", "e"] {
        let search = "(() => { const field = document.querySelector('.log-search'); field.value = argument; const begun = performance.now(); \
                      field.dispatchEvent(new Event('input')); document.body.getBoundingClientRect(); return performance.now() - begun; })()";
        let took = page.call(json!(["evaluate", search, text])).await;
        searches.push(took.as_f64().unwrap());
    }
    page.call(json!(["evaluate", "(() => { const field = document.querySelector('.log-search'); field.value = ''; field.dispatchEvent(new Event('input')); })()"])).await;
    searches
}

/// First contentful paint and interactivity of the list, with an empty cache and without.
async fn list_view(base: &str) -> (f64, f64) {
    let page = WebPage::open().await;
    let (mut paints, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        page.goto("about:blank").await;
        page.goto(&format!("{base}/")).await;
        page.until("performance.getEntriesByName('first-contentful-paint').length > 0 && document.documentElement.classList.contains('scripts')").await;
        paints.push(page.evaluate::<f64>("performance.getEntriesByName('first-contentful-paint')[0].startTime").await);
        ready.push(page.evaluate::<f64>("performance.getEntriesByType('navigation')[0].loadEventEnd").await);
    }
    (median(&paints), median(&ready))
}

/// Turns the wheel over the log, upwards and downwards, slowly and fast, and returns the intervals between frames.
async fn scrolling(page: &WebPage) -> Vec<f64> {
    page.call(json!(["hover", ".log-lines"])).await;
    page.evaluate::<Value>(WATCH_FRAMES).await;
    for by in [-120, -900, -4_000, -20_000, 3_000, -300, 12_000, -60_000] {
        for _ in 0..40 {
            page.call(json!(["wheel", by])).await;
        }
    }
    page.evaluate::<Vec<f64>>(
        "(() => { const seen = window.frames_seen; window.frames_seen = undefined; return seen; })()",
    )
    .await
}

/// The server's processor time for one view, in milliseconds.
async fn processor_time(panda: &Panda, url: &str) -> f64 {
    let http = reqwest::Client::new();
    let get = async || {
        let answer = http.get(url).header("accept-encoding", "br").send().await.unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap()
    };
    for _ in 0..20 {
        get().await;
    }
    let before = panda.cpu_seconds();
    for _ in 0..VIEWS {
        get().await;
    }
    (panda.cpu_seconds() - before) / f64::from(VIEWS) * 1_000.0
}
