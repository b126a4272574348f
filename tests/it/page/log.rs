//! The log of a deployment.

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda_testing::web_page::{Display, WebPage};
use serde_json::{Value, json};

use crate::http::{Api, Fixture};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

mod live;

/// A line of output.
fn output(number: usize, text: &str) -> Event {
    Event::new(EventCode::BuildProgress).with("message", text).keyed(number)
}

/// A line of a step of BuildKit.
fn of_step(number: usize, step: u32, text: &str) -> Event {
    output(number, text).with("step", step)
}

/// The line that reports the result of a step of BuildKit.
fn ended(number: usize, step: u32, name: &str, error: Option<&str>) -> Event {
    let text = error.map_or_else(|| format!("{name}: 2.5 s"), |error| format!("{name}: failed: {error}"));
    of_step(number, step, &text)
        .with("name", name)
        .with("duration_ms", 2_500)
        .with("cached", step == 1)
        .with_known("error", error)
}

/// Opens the log, and waits until it is complete.
async fn open(page: &WebPage, api: &Api, fixture: &Fixture, hash: &str) {
    page.goto(&format!("http://{}/deployments/{}/log{hash}", api.address, fixture.id())).await;
    page.visible("log-view[data-complete]").await;
}

/// Presses a button of the log.
async fn press(page: &WebPage, text: &str) {
    page.click(&format!(".log-bar button:text-is('{text}')")).await;
}

/// A build in the middle of its second step.
async fn building(fixture: &mut Fixture) {
    let events = vec![
        Event::new(EventCode::CloneStarted),
        Event::new(EventCode::BuildStarted),
        of_step(1, 1, "[1/3] FROM busybox"),
        ended(2, 1, "[1/3] FROM busybox", None),
        of_step(3, 2, "[2/3] RUN make"),
        of_step(4, 2, "compiling one"),
        of_step(5, 3, "[3/3] COPY . ."),
        of_step(6, 2, "compiling two"),
    ];
    fixture.tell(events).await;
}

#[tokio::test]
async fn log__groups_have_states_and_durations() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    building(&mut fixture).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    let heads = page.texts(".group-head").await;
    assert_eq!(heads.len(), 4, "{heads:?}");
    assert!(heads[0].contains("Source and image build") && heads[0].contains("running"), "{heads:?}");
    assert!(heads[1].contains("[1/3] FROM busybox") && heads[1].contains("cached") && heads[1].contains("2.5 s"));
    // The running ones are open, the finished one is folded.
    let open_ones = page.texts(".group-head[aria-expanded=true] .name").await;
    assert_eq!(open_ones, ["Source and image build", "[2/3] RUN make", "[3/3] COPY . ."]);
    page.visible(".line .text:text-is('compiling two')").await;

    fixture.tell(vec![ended(7, 3, "[3/3] COPY . .", None), ended(8, 2, "[2/3] RUN make", Some("exit code: 2"))]).await;
    page.visible(".group.step[data-state=failed]").await;
    fixture.fail().await;
    page.visible(".line.fail").await;
    let open_ones = page.texts(".group-head[aria-expanded=true] .name").await;
    assert_eq!(open_ones, ["Source and image build", "[2/3] RUN make"]);
    page.expect_sound("failed log").await;
    for (width, height) in [(360, 740), (768, 900), (1440, 900)] {
        page.call(json!(["size", width, height])).await;
        page.screenshot(&format!("log-{width}-light")).await;
        page.call(json!(["media", {"colorScheme": "dark"}])).await;
        page.screenshot(&format!("log-{width}-dark")).await;
        page.call(json!(["media", {"colorScheme": "light"}])).await;
        assert!(page.evaluate::<bool>("document.documentElement.scrollWidth <= innerWidth").await, "at {width}");
    }
    // A press opens and folds a group, and the choice stays when events arrive.
    page.click(".group-head:has-text('FROM busybox')").await;
    page.visible(".line .text:text-is('[1/3] FROM busybox')").await;
}

#[tokio::test]
async fn log__classic_builder_has_groups() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    let lines = ["Step 1/2 : FROM busybox", " ---> 3f57", "Step 2/2 : RUN make", "boom"];
    fixture.tell(lines.iter().enumerate().map(|(at, text)| output(at, text)).collect()).await;
    fixture.fail().await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    let states = "[...document.querySelectorAll('.group.step')].map((group) => [group.querySelector('.name').textContent, group.dataset.state])";
    assert_eq!(
        page.evaluate::<Value>(states).await,
        json!([["Step 1/2 : FROM busybox", "done"], ["Step 2/2 : RUN make", "failed"]])
    );
}

#[tokio::test]
async fn log__retry_begins_new_groups() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    building(&mut fixture).await;
    fixture.fail().await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    let answer = api.post(&format!("/api/v1/deploy/{}/retry", fixture.id()), &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut second = fixture.retried().await;
    let started = Event::new(EventCode::RetryStarted).with("attempt", 2).with("step", "build_image");
    second.tell(vec![started, of_step(1, 2, "second time")]).await;
    page.visible(".group.stage:has-text('attempt 2') .line .text:text-is('second time')").await;
}

#[tokio::test]
async fn log__search_finds_lines_of_folded_groups() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut events: Vec<Event> = (1..=600).map(|n| of_step(n, 1, &format!("Line {n}: needle, Needle"))).collect();
    events.push(ended(601, 1, "[1/2] RUN first", None));
    events.extend((602..=1_000).map(|n| of_step(n, 2, &format!("line {n} (a.b*)"))));
    fixture.tell(events).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    page.press("/").await;
    assert!(page.evaluate::<bool>("document.activeElement.classList.contains('log-search')").await);
    page.fill(".log-search", "NEEDLE").await;
    assert_eq!(page.text(".log-count").await, "1200 found");
    page.press("Enter").await;
    assert_eq!(page.text(".log-count").await, "1 of 1200");
    page.visible(".line .text:text-is('Line 1: needle, Needle')").await;
    page.press("Shift+Enter").await;
    assert_eq!(page.text(".log-count").await, "1200 of 1200");
    page.visible(".line .text:text-is('Line 600: needle, Needle')").await;
    let shown = "(() => { const [range] = CSS.highlights.get('log-current'); const place = range.getBoundingClientRect(); \
                 const frame = document.querySelector('.log-lines').getBoundingClientRect(); \
                 return [range.toString(), place.top > frame.top && place.bottom < frame.bottom]; })()";
    assert_eq!(page.evaluate::<Value>(shown).await, json!(["Needle", true]));
    // Not a regular expression; and rows that arrive are found.
    page.fill(".log-search", "(a.b*)").await;
    assert_eq!(page.text(".log-count").await, "399 found");
    fixture.tell(vec![of_step(1_001, 2, "new (a.b*)")]).await;
    page.until("document.querySelector('.log-count').textContent === '400 found'").await;
    page.fill(".log-search", "nothing at all").await;
    assert_eq!(page.text(".log-count").await, "0 found");
    page.expect_sound("search").await;
}

#[tokio::test]
async fn log__links_to_lines_and_ranges() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell((1..=2_000).map(|n| of_step(n, 1, &format!("line {n}"))).collect()).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "#L1200-L1203").await;
    page.visible(".linked .text:text-is('line 1203')").await;
    assert_eq!(page.texts(".linked .text").await, ["line 1200", "line 1201", "line 1202", "line 1203"]);
    assert_eq!(page.attribute(".log-following", "aria-pressed").await.as_deref(), Some("false"));
    fixture.tell(vec![of_step(2_001, 1, "new")]).await;
    page.click(".line .n[data-n='1201']").await;
    assert!(page.url().await.ends_with("#L1201"));
    page.call(json!(["evaluate", "document.querySelector(\".line .n[data-n='1204']\").dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, shiftKey: true }))"])).await;
    assert!(page.url().await.ends_with("#L1201-L1204"));
    // By the keyboard.
    page.fill(".log-go", "7-9").await;
    page.press("Enter").await;
    page.visible(".linked .text:text-is('line 9')").await;
    assert!(page.url().await.ends_with("#L7-L9"));
    // A hash that names no line shows the log as usual.
    for hash in ["#L0", "#L99999999999", "#Lx", "#L5-L2", "#main"] {
        open(&page, &api, &fixture, hash).await;
    }
    page.expect_no_complaints("links").await;
}

#[tokio::test]
async fn log__times_and_wrapping_are_remembered() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell(vec![of_step(1, 1, &"wide ".repeat(800)), of_step(2, 1, "end")]).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    assert_eq!(page.count(".line .at:visible").await, 0);
    press(&page, "Times").await;
    press(&page, "Wrap").await;
    assert!(
        page.evaluate::<bool>(
            "document.querySelector('.log-lines').scrollWidth <= document.querySelector('.log-lines').clientWidth + 1"
        )
        .await
    );
    page.call(json!(["reload"])).await;
    page.visible("log-view.with-times.with-wrap[data-complete]").await;
    page.until("document.querySelector('.line .at') !== null").await;
    let shown: String = page.evaluate("document.querySelector('.line .at').dataset.at").await;
    // Seoul's time, of the id of the event.
    let at = db.db.events_after(fixture.id(), 1, 1).await.unwrap().remove(0).created_at + chrono::Duration::hours(9);
    assert!(shown.starts_with(&at.format("%H:%M").to_string()), "{shown} {at}");
    let tall: f64 = page.evaluate("document.querySelector('.line').getBoundingClientRect().height").await;
    assert!(tall > 100.0, "{tall}");
    page.screenshot("log-wrapped").await;
    assert_eq!(
        page.attribute(".log-bar a", "href").await.unwrap(),
        format!("/api/v1/deploy/{}/log?lang=en", fixture.id())
    );
}

#[tokio::test]
async fn log__readable_without_scripts_in_both_languages() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell((1..=700).map(|n| of_step(n, 1, &format!("line {n}"))).collect()).await;
    fixture.tell(vec![output(701, "<b>\u{202e}bold</b>")]).await;
    let page = WebPage::with(Display { locale: "ko-KR", dark: true, size: (360, 740), scripts: false }).await;
    page.goto(&format!("http://{}/deployments/{}/log", api.address, fixture.id())).await;
    assert_eq!(page.count(".line").await, 500);
    assert!(page.text(".line:last-child").await.contains("<b><U+202E>bold</b>"));
    assert!(page.text(".log-note").await.contains("최근 500줄"));
    let file = page.attribute(".log-note a", "href").await.unwrap();
    let text = api.get(&file).await.text;
    assert_eq!(text.lines().count(), 701);
    assert!(text.lines().next().unwrap().contains("[Stage 1]"));
    page.screenshot("log-without-scripts").await;

    page.profile(Display { locale: "ko-KR", ..Display::default() }).await;
    open(&page, &api, &fixture, "").await;
    page.visible(".log-bar button:text-is('따라가기')").await;
    page.expect_sound("Korean log").await;
    page.goto(&format!("http://{}/deployments/dep_unknown/log", api.address)).await;
    assert!(page.text("main").await.contains("404"));
}

#[tokio::test]
async fn log__hostile_lines_stay_text() {
    let db = TestDb::new().await;
    let api = Panda::builder().database(&db.db).api().await;
    let mut fixture = Fixture::begin(&db.db).await;
    let wide = "W".repeat(4_096);
    let long = "x".repeat(1_000_000);
    let lines = [
        "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "\u{1b}]8;;https://evil.example\u{7}link\u{1b}]8;;\u{7}\u{1b}[2J\u{1b}[10A",
        "safe\u{202e}gpj.exe\u{200b}\u{2066}\u{feff}",
        "<U+202E> literally",
        "مرحبا שלום 日本語 🐼 e\u{301}",
        "]]>&amp;&#x202e; %s ${x} {{ page }}",
        wide.as_str(),
        long.as_str(),
        "constructor __proto__ \u{2028} \u{85} end",
    ];
    let mut events: Vec<Event> = lines.iter().enumerate().map(|(at, text)| of_step(at, 1, text)).collect();
    let colours = (0..256).map(|n| format!("\u{1b}[38;5;{n};48;5;{}mx", 255 - n)).collect::<Vec<_>>().concat();
    let plain = "x".repeat(256);
    for (at, (text, ansi)) in [
        ("red", "\u{1b}[31mred".to_owned()),
        ("hidden", "\u{1b}[30;40mhidden".to_owned()),
        ("true", "\u{1b}[38;2;1;2;3mtrue".to_owned()),
        ("broken", "\u{1b}[38;5m\u{1b}[999;48mbroken\u{1b}[3".to_owned()),
        (plain.as_str(), colours),
        ("<i>evil</i>", "\u{1b}[1m<i>evil</i>\u{1b}]0;title\u{7}".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        events.push(of_step(100 + at, 1, text).with("ansi", ansi));
    }
    fixture.tell(events).await;
    let page = WebPage::open().await;
    open(&page, &api, &fixture, "").await;
    let texts = page.texts(".line .text").await;
    assert_eq!(texts[0], lines[0]);
    assert!(texts[1].starts_with("<U+001B>]8;;https://evil.example<U+0007>link"), "{}", texts[1]);
    assert_eq!(texts[2], "safe<U+202E>gpj.exe<U+200B><U+2066><U+FEFF>");
    assert!(texts[7].len() < 20_000 && texts[7].ends_with('…'));
    assert_eq!(texts[8], "constructor __proto__ <U+2028> <U+0085> end");
    assert_eq!(page.count(".log-lines img, .log-lines script, .log-lines i, .log-lines a[href*=evil]").await, 0);
    let coloured = page.evaluate::<Vec<String>>(
        "[...document.querySelectorAll('.line')].slice(9).map((row) => getComputedStyle(row.querySelector('.text > span')).color)",
    );
    let coloured = coloured.await;
    assert_eq!(coloured[0], "rgb(255, 123, 132)");
    // Neither text of the colour of its ground nor nearly black text stays so.
    assert_ne!(coloured[1], "rgb(140, 148, 163)");
    assert_ne!(coloured[2], "rgb(1, 2, 3)");
    assert!(page.evaluate::<bool>("document.documentElement.scrollWidth <= innerWidth").await);
    page.screenshot("log-hostile").await;
    page.expect_sound("hostile lines").await;
}
