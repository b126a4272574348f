use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::http::{Api, Fixture};
use crate::support::db::TestDb;

fn events(ndjson: &str) -> Vec<Value> {
    ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn log__every_event_once_in_order() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    // More than one page of the table.
    for from in (1..=4_500).step_by(500) {
        fixture.build_lines(from, from + 499).await;
    }
    fixture.fail().await;
    let path = format!("/api/v1/deploy/{}/log", fixture.id());
    let answer = api.get(&format!("{path}?format=ndjson&lang=en")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let all = events(&answer.text);
    assert_eq!(all.len(), 4_501);
    assert!(all.iter().zip(1..).all(|(event, seq)| event["seq"] == seq));
    assert_eq!(all[6]["message"], "[Stage 1] Docker build in progress: line 7");
    assert_eq!(
        (&all[6]["type"], &all[6]["code"], &all[6]["attempt"], &all[6]["details"]),
        (&json!("stage"), &json!("build_progress"), &json!(1), &json!({"stage": 1}))
    );
    let last = &all[4_500];
    assert_eq!((&last["type"], &last["code"], last.get("details")), (&json!("fail"), &json!("build_failed"), None));

    // The same ids as on the event stream, from any of them.
    let after = all[4_498]["id"].as_str().unwrap();
    let rest = events(&api.get(&format!("{path}?format=ndjson&lang=en&after={after}")).await.text);
    assert_eq!(rest, all[4_499..]);
    let mut stream = api.follow(fixture.id(), &format!("?lastEventId={after}")).await;
    assert_eq!(
        stream.take(2).await.iter().map(|event| json!(event.id)).collect::<Vec<_>>(),
        [rest[0]["id"].clone(), rest[1]["id"].clone()]
    );
    // An unknown id has everything after it.
    let unknown = uuid::Uuid::now_v7();
    assert_eq!(events(&api.get(&format!("{path}?format=ndjson&after={unknown}")).await.text).len(), 4_501);
    let newest = last["id"].as_str().unwrap();
    assert_eq!(api.get(&format!("{path}?after={newest}")).await.text, "");
}

#[tokio::test]
async fn log__text_is_a_file_without_control_characters() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let nasty = "two\nlines \u{1b}[2J\u{202e}<script>";
    fixture.tell(vec![Event::new(EventCode::BuildProgress).with("message", nasty)]).await;
    let path = format!("/api/v1/deploy/{}/log", fixture.id());
    let answer = api.get(&path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    let file = format!("attachment; filename=\"panda-{}.log\"", fixture.id());
    assert_eq!((answer.header("content-disposition"), answer.header("content-language")), (file.as_str(), "ko"));
    let lines: Vec<&str> = answer.text.lines().collect();
    let (time, message) = lines[0].split_once(' ').unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    assert_eq!(message, "[Stage 1] Docker 빌드 진행 중: two");
    assert_eq!(lines[1], "                         lines <U+001B>[2J<U+202E><script>");
    assert_eq!(lines.len(), 2);
    // JSON keeps each character, on one line.
    let event = events(&api.get(&format!("{path}?format=ndjson&lang=en")).await.text).remove(0);
    assert_eq!(event["message"], format!("[Stage 1] Docker build in progress: {nasty}"));
}

#[tokio::test]
async fn log__has_colours_as_a_detail() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let event =
        Event::new(EventCode::BuildProgress).with("message", "red").with("ansi", "\u{1b}[31mred").with("step", 3);
    fixture.tell(vec![event]).await;
    let body = api.get(&format!("/api/v1/deploy/{}/log?format=ndjson", fixture.id())).await.text;
    assert_eq!(events(&body)[0]["details"], json!({"stage": 1, "step": 3, "ansi": "\u{1b}[31mred"}));
}

#[tokio::test]
async fn log__names_invalid_parameter() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let path = format!("/api/v1/deploy/{}/log", fixture.id());
    for (field, query) in [("format", "format=html"), ("format", "format="), ("after", "after=7"), ("after", "after=")]
    {
        assert_eq!(api.get(&format!("{path}?{query}")).await.refused_field("INVALID_FIELD"), field, "{query}");
    }
    api.get("/api/v1/deploy/dep_unknown/log").await.problem(404, "DEPLOYMENT_NOT_FOUND");
}
