//! Encodes an event as a frame of the stream. The encoding is here and not in the web framework, so that all subscribers of a language share the same
//! bytes.

use std::fmt::Display;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::feed_event_id::FeedEventId;
use crate::db::feed::FeedEvent;
use crate::domain::catalogue::{EventType, Lang, Rendered};
use crate::domain::event::StoredEvent;

/// Delay before a reader reconnects, in milliseconds.
const RETRY_MS: u32 = 5_000;

/// Ends of lines that JSON leaves as they are: next line, line separator, paragraph separator.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// The `data` of a `stage` event. The API contract fixes the order of the members.
#[derive(Serialize)]
struct Stage<'a> {
    r#type: &'static str,
    message: &'a str,
    details: &'a Option<Map<String, Value>>,
    #[serde(rename = "deploymentId", skip_serializing_if = "Option::is_none")]
    deployment_id: Option<&'a str>,
}

/// The `data` of `success` and `fail` events.
#[derive(Serialize)]
struct End<'a> {
    message: &'a str,
    #[serde(rename = "deploymentId", skip_serializing_if = "Option::is_none")]
    deployment_id: Option<&'a str>,
}

/// Encodes `event` for the stream of its deployment.
pub fn encode(event: &StoredEvent, lang: Lang) -> Bytes {
    frame(event.id, &event.render(lang), None)
}

/// Encodes `event` for the stream of all deployments: `data` names the deployment, and the id contains the event's position among all events.
pub fn encode_for_feed(event: &FeedEvent, lang: Lang) -> Bytes {
    let id = FeedEventId { transaction: event.key.transaction, id: event.event.id };
    frame(id, &event.event.render(lang), Some(&event.key.deployment_id))
}

fn frame(id: impl Display, rendered: &Rendered, deployment_id: Option<&str>) -> Bytes {
    let name = rendered.event_type.as_str();
    let message = rendered.message.as_str();
    let data = match rendered.event_type {
        EventType::Stage => {
            serde_json::to_string(&Stage { r#type: name, message, details: &rendered.details, deployment_id })
        }
        EventType::Success | EventType::Fail => serde_json::to_string(&End { message, deployment_id }),
    };
    // Serialisation cannot fail: there are only strings and maps with string keys.
    let data = on_one_line(data.unwrap_or_default());
    Bytes::from(format!("id: {id}\nevent: {name}\nretry: {RETRY_MS}\ndata: {data}\n\n"))
}

/// Escapes what some line readers (Python's `splitlines`, JavaScript before ES2019) take for the end of a line. JSON itself escapes only characters
/// below U+0020, among them CR, LF, VT and FF; the others occur in its strings alone, where an escape means the same.
pub(in crate::http) fn on_one_line(json: String) -> String {
    if !json.contains(LINE_ENDS) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            '\u{85}' => escaped.push_str("\\u0085"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Encodes a comment, which readers ignore. `text` is static, because a line break from outside would end the comment.
pub fn comment(text: &'static str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventsource_stream::Eventsource;
    use futures_util::StreamExt;
    use serde_json::json;
    use uuid::Uuid;

    fn rendered(event_type: EventType, message: &str, details: &Value) -> Rendered {
        Rendered { event_type, message: message.to_owned(), details: details.as_object().cloned() }
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn stage_has_members_of_the_contract_in_order() {
        let frame =
            frame(Uuid::nil(), &rendered(EventType::Stage, "[Stage 1] 완료", &json!({"path": "/x", "stage": 1})), None);
        assert_eq!(
            text(&frame),
            "id: 00000000-0000-0000-0000-000000000000\nevent: stage\nretry: 5000\n\
             data: {\"type\":\"stage\",\"message\":\"[Stage 1] 완료\",\"details\":{\"path\":\"/x\",\"stage\":1}}\n\n"
        );
    }

    #[test]
    fn success_and_fail_have_only_a_message() {
        for (event_type, name) in [(EventType::Success, "success"), (EventType::Fail, "fail")] {
            let frame = frame(Uuid::nil(), &rendered(event_type, "m", &json!({"never": "sent"})), None);
            assert!(text(&frame).ends_with(&format!("event: {name}\nretry: 5000\ndata: {{\"message\":\"m\"}}\n\n")));
        }
    }

    #[test]
    fn feed_frame_names_the_deployment() {
        let end = frame("7.x", &rendered(EventType::Fail, "m", &json!({})), Some("dep_1"));
        assert!(text(&end).starts_with("id: 7.x\nevent: fail\n"));
        assert!(text(&end).ends_with("data: {\"message\":\"m\",\"deploymentId\":\"dep_1\"}\n\n"));
        let stage = frame("7.x", &rendered(EventType::Stage, "m", &json!({"stage": 1})), Some("dep_1"));
        assert!(text(&stage).ends_with(
            "data: {\"type\":\"stage\",\"message\":\"m\",\"details\":{\"stage\":1},\"deploymentId\":\"dep_1\"}\n\n"
        ));
    }

    #[test]
    fn text_with_line_breaks_stays_on_its_line() {
        let nasty = "a\r\nb\rc\n\nevent: fail\ndata: x\u{0}\u{feff}\u{2028}🐼";
        let frame = frame(Uuid::nil(), &rendered(EventType::Stage, nasty, &json!({"path": nasty})), None);
        let lines: Vec<&str> = text(&frame).split(['\r', '\n']).collect();
        assert_eq!(lines.len(), 6, "four lines and the blank one: {lines:?}");
        let data: Value = serde_json::from_str(lines[3].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((data["message"].as_str(), data["details"]["path"].as_str()), (Some(nasty), Some(nasty)));
    }

    #[test]
    fn no_line_reader_splits_a_frame() {
        // The ends of lines of Python's `str.splitlines`, of Unicode (UAX 14) and of JavaScript.
        let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
        let nasty: String = ends.iter().flat_map(|end| ['a', *end, '쏘']).collect();
        for event_type in [EventType::Stage, EventType::Success, EventType::Fail] {
            let details = json!({&nasty: [nasty, {"deep": nasty}]});
            let frame = frame(Uuid::nil(), &rendered(event_type, &nasty, &details), None);
            let lines: Vec<&str> = text(&frame).split(ends).collect();
            assert_eq!(lines.len(), 6, "{lines:?}");
            let data: Value = serde_json::from_str(lines[3].strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(data["message"], nasty.as_str());
            if event_type == EventType::Stage {
                assert_eq!(data["details"], details);
            }
        }
    }

    /// Parses the bytes with a third-party parser.
    async fn parsed(bytes: Bytes) -> Vec<eventsource_stream::Event> {
        let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
        stream.eventsource().map(|event| event.unwrap()).collect().await
    }

    #[tokio::test]
    async fn frame_has_id_name_and_retry_delay() {
        let id = Uuid::now_v7();
        for (event_type, name) in
            [(EventType::Stage, "stage"), (EventType::Success, "success"), (EventType::Fail, "fail")]
        {
            let read = parsed(frame(id, &rendered(event_type, "m", &json!({})), None)).await;
            let [event] = read.as_slice() else { panic!("not one event: {read:?}") };
            assert_eq!((event.event.as_str(), &event.id), (name, &id.to_string()));
            assert_eq!(event.retry, Some(std::time::Duration::from_secs(5)));
        }
    }

    #[tokio::test]
    async fn every_character_survives_a_third_party_parser() {
        let characters: Vec<char> = ('\0'..='\u{ffff}').chain("🐼\u{1f468}\u{200d}\u{10ffff}".chars()).collect();
        for characters in characters.chunks(4_096) {
            let message: String = characters.iter().collect();
            let read = parsed(frame(Uuid::nil(), &rendered(EventType::Success, &message, &json!(null)), None)).await;
            assert_eq!(read.len(), 1);
            assert_eq!(serde_json::from_str::<Value>(&read[0].data).unwrap()["message"], message.as_str());
        }
    }

    #[tokio::test]
    async fn keeps_leading_space_and_colon_of_a_message() {
        for message in [" x", ": x", ":", "  ", "data: x", ""] {
            let read = parsed(frame(Uuid::nil(), &rendered(EventType::Fail, message, &json!(null)), None)).await;
            assert_eq!(serde_json::from_str::<Value>(&read[0].data).unwrap(), json!({"message": message}));
        }
    }

    #[test]
    fn comment_is_one_line_and_a_blank_line() {
        assert_eq!(&comment("keep-alive")[..], b": keep-alive\n\n");
    }
}
