//! What a build prints, from the engine to a reader.

use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;

use crate::clients::docker::{build, context, engine, name};
use crate::http::reader::texts;
use crate::http::{Api, Story};
use crate::support::db::TestDb;

/// Prints, with octal escapes: carriage returns, NUL, BOM, an emoji, bytes that are no UTF-8, a line of 64 KiB without and with its end.
const PRINTING: &str = r"FROM busybox:1
RUN printf 'crlf\r\n10%%\r100%%\nnul\000nul\n\357\273\277bom\nemoji \360\237\220\274\nbad \377\376 \303\050 end\n' && \
    printf 'data: \042quoted\042\n' && head -c 65536 /dev/zero | tr '\000' x && echo && echo after
";

#[tokio::test]
async fn whatever_a_build_prints_arrives_as_json() {
    let tag = name();
    let (built, lines) = build(context(&[("Dockerfile", PRINTING)]).path(), &tag, &[]).await;
    built.unwrap();
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut story = Story::begin(&db.db).await;
    let line =
        |(n, line): (usize, &String)| Event::new(EventCode::BuildProgress).with("message", line.as_str()).keyed(n);
    story.tell(lines.iter().enumerate().map(line).collect()).await;
    let told = texts(&api.follow(story.id(), "").await.take(lines.len()).await);
    let long = format!("{}… (cut)", "x".repeat(4_096 - "… (cut)".chars().count()));
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
        let told = told.iter().filter(|told| **told == format!("[Stage 1] Docker 빌드 진행 중: {line}")).count();
        assert_eq!(told, 1, "{line:?} in {lines:#?}");
    }
    engine().remove_image(&tag).await.unwrap();
}
