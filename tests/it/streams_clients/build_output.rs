//! Build output on its way from the engine to a reader.

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;

use crate::clients::docker::{build, context, engine, name};
use crate::http::{Api, Fixture};
use crate::support::db::TestDb;
use crate::support::sse_reader::texts;

/// Prints, with octal escapes: carriage returns, NUL, BOM, an emoji, bytes that are no UTF-8, a line of 64 KiB without and with its end.
const PRINTING: &str = r"FROM busybox:1
RUN printf 'crlf\r\n10%%\r100%%\nnul\000nul\n\357\273\277bom\nemoji \360\237\220\274\nbad \377\376 \303\050 end\n' && \
    printf 'data: \042quoted\042\n' && head -c 65536 /dev/zero | tr '\000' x && echo && echo after
";

#[tokio::test]
async fn readers__any_build_output_is_valid_json() {
    let tag = name();
    let (built, lines) = build(context(&[("Dockerfile", PRINTING)]).path(), &tag, &[]).await;
    built.unwrap();
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let line =
        |(n, line): (usize, &String)| Event::new(EventCode::BuildProgress).with("message", line.as_str()).keyed(n);
    fixture.tell(lines.iter().enumerate().map(line).collect()).await;
    let received = texts(&api.follow(fixture.id(), "").await.take(lines.len()).await);
    let long = format!("{}…", "x".repeat(4_095));
    for line in [
        "crlf",
        "100%",
        "nulnul",
        "\u{feff}bom",
        "emoji 🐼",
        "bad \u{fffd}\u{fffd} \u{fffd}( end",
        "data: \"quoted\"",
        &long,
        "after",
    ] {
        let received =
            received.iter().filter(|received| **received == format!("[Stage 1] Docker 빌드 진행 중: {line}")).count();
        assert_eq!(received, 1, "{line:?} in {lines:#?}");
    }
    engine().remove_image(&tag).await.unwrap();
}
