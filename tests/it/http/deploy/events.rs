use panda::domain::catalogue::EventCode;
use panda::domain::event::Event;
use panda::domain::failure::ErrorCode;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Answer, Api, ExternalServices, Fixture};
use crate::support::db::TestDb;
use crate::support::sse_reader::texts;

/// The agreed catalogue, read from its file so that nothing is retyped.
fn catalogue() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../src/domain/events.json")).unwrap()
}

fn code(name: &str) -> EventCode {
    let failures = ErrorCode::ALL.iter().map(|error| EventCode::Failed(*error));
    EventCode::STAGES_AND_SUCCESSES.iter().copied().chain(failures).find(|code| code.as_str() == name).unwrap()
}

/// Every `{name}` in a text.
fn names(text: &str) -> Vec<&str> {
    text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect()
}

/// The text with every `{name}` replaced by its value from [`full`].
fn filled(text: &str) -> String {
    names(text).into_iter().fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}}}"), &value_of(name)))
}

fn value_of(name: &str) -> String {
    format!("《{name}》 \"\n")
}

/// The event of an entry, with a value for each parameter that the entry names.
fn full(entry: &Value) -> Event {
    let mut params = Map::new();
    for name in names(&entry.to_string().replace("{\"", "").replace("\"}", "").replace("{}", "")) {
        if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            params.insert(name.to_owned(), Value::from(value_of(name)));
        }
    }
    let mut event = Event::new(code(entry["code"].as_str().unwrap()));
    event.params = params;
    event
}

/// The wire format that the contract requires for an entry.
fn expected(entry: &Value, lang: &str) -> (String, Value) {
    let message = filled(entry["message"][lang].as_str().unwrap());
    let kind = entry["type"].as_str().unwrap();
    let mut data = json!({"message": message});
    if kind == "stage" {
        let detail = |value: &Value| match value {
            Value::String(text) => Value::from(filled(text)),
            Value::Object(translated) => Value::from(filled(translated[lang].as_str().unwrap())),
            other => other.clone(),
        };
        let details: Map<String, Value> =
            entry["details"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), detail(value))).collect();
        data = json!({"type": "stage", "message": message, "details": details});
    }
    (kind.to_owned(), data)
}

#[tokio::test]
async fn events__catalogue_messages_on_the_wire() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let catalogue = catalogue();
    fixture.tell(catalogue.iter().map(full).collect()).await;
    for (query, lang) in [("", "ko"), ("?lang=en", "en"), ("?lang=ko", "ko")] {
        let messages = api.follow(fixture.id(), query).await.take(catalogue.len()).await;
        for (entry, message) in catalogue.iter().zip(&messages) {
            let (event, data) = expected(entry, lang);
            assert_eq!((&message.event, message.json()), (&event, data));
            if event == "stage" {
                assert!(message.data.starts_with("{\"type\":\"stage\",\"message\":"), "{}", message.data);
            }
        }
    }
}

#[tokio::test]
async fn events__languages_share_ids_and_default_applies() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let english = Api::serve_with(&db.db, &ExternalServices::default(), &["--language=en"]).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell(vec![Event::new(EventCode::InfraStarted)]).await;
    let korean = api.follow(fixture.id(), "").await.take(1).await.remove(0);
    let other = english.follow(fixture.id(), "").await.take(1).await.remove(0);
    assert_eq!(
        (korean.text().as_str(), other.text().as_str()),
        ("[Stage 3] ECS 배포 시작 중", "[Stage 3] ECS deployment starting")
    );
    assert_eq!(korean.id, other.id, "on every process and in every language");
    let request = api.request(Method::GET, &format!("/api/v1/deploy/{}/events", fixture.id()));
    let asked = crate::http::Reader::open(request.header("accept-language", "en-US,en")).await.take(1).await.remove(0);
    assert_eq!(asked, korean, "independent of the browser's language");
}

#[tokio::test]
async fn events__unknown_language_falls_back_with_comment() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell(vec![Event::new(EventCode::InfraStarted)]).await;
    let mut reader = api.follow(fixture.id(), "?lang=tlh%0d%0a%0d%0adata:%20x").await;
    assert!(reader.comment().await.starts_with("unknown lang"));
    assert_eq!(texts(&reader.take(1).await), ["[Stage 3] ECS 배포 시작 중"]);
}

#[tokio::test]
async fn events__bytes_match_contract() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.tell(vec![Event::new(EventCode::EventRuleCreated)]).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let request = format!(
        "GET /api/v1/deploy/{}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
        fixture.id()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"}\n\n\r") {
        assert_ne!(
            tokio::time::timeout(crate::support::WAIT_LIMIT, socket.read_buf(&mut bytes)).await.unwrap().unwrap(),
            0
        );
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
    let headers: Vec<&str> = lines.collect();
    for header in [
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache, no-transform",
        "connection: keep-alive",
        "transfer-encoding: chunked",
        "x-accel-buffering: no",
    ] {
        assert!(headers.contains(&header), "{header} is not in {headers:?}");
    }
    let (_, frame) = body.split_once("\r\n").unwrap();
    let (id, rest) = frame.strip_prefix("id: ").unwrap().split_at(36);
    uuid::Uuid::parse_str(id).unwrap();
    assert!(rest.starts_with(
        "\nevent: stage\nretry: 5000\n\
         data: {\"type\":\"stage\",\"message\":\"[Step 1] EventBridge 규칙 생성 완료\",\"details\":{\"stage\":1}}\n\n"
    ));
}

#[tokio::test]
async fn events__history_and_live_joined_without_gap_or_repeat() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    // More events than memory keeps: the oldest come from the table, in pages.
    fixture.build_lines(1, 400).await;
    let mut early = api.follow(fixture.id(), "").await;
    let mut late = api.follow(fixture.id(), "").await;
    early.take(10).await;
    for from in (401..=600).step_by(20) {
        fixture.build_lines(from, from + 19).await;
        api.hub.notify(fixture.id());
    }
    fixture.fail().await;
    api.hub.notify(fixture.id());
    let expected: Vec<String> = (1..=600).map(|n| format!("[Stage 1] Docker 빌드 진행 중: line {n}")).collect();
    let mut received = texts(&late.rest().await);
    assert!(received.pop().unwrap().starts_with("Docker 이미지 빌드 실패"));
    assert_eq!(received, expected);
    assert_eq!(early.rest().await.len(), 591);
}

#[tokio::test]
async fn events__subscribers_see_one_order() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let mut readers = Vec::new();
    for n in 0..20 {
        readers.push(api.follow(fixture.id(), "").await);
        fixture.build_lines(n * 10 + 1, n * 10 + 10).await;
        db.db.notify_events(&[fixture.id().to_owned()]).await.unwrap();
    }
    assert_eq!(api.hub.watched(), 1);
    let first = readers[0].take(200).await;
    for reader in &mut readers[1..] {
        assert_eq!(reader.take(200).await, first);
    }
}

#[tokio::test]
async fn events__keep_alive_comment_when_quiet() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let opened = tokio::time::Instant::now();
    let mut reader = api.follow(fixture.id(), "").await;
    assert_eq!(reader.comment().await, "keep-alive");
    let waited = opened.elapsed().as_secs_f64();
    assert!((14.0..20.0).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn events__unknown_deployment_not_found() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    for id in ["dep_unknown", "%00", "x%2Fy"] {
        api.get(&format!("/api/v1/deploy/{id}/events")).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    }
    assert_eq!(api.hub.watched(), 0, "no state is kept for an unknown deployment");
}

#[tokio::test]
async fn events__accept_without_event_stream_refused() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let request = api.request(Method::GET, &format!("/api/v1/deploy/{}/events", fixture.id()));
    let answer = Answer::of(request.header("accept", "application/json").send().await.unwrap()).await;
    let problem = answer.problem(406, "NOT_ACCEPTABLE");
    assert!(problem["detail"].as_str().unwrap().contains("text/event-stream"));
}
