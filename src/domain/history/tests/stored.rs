//! Stored events, read again, give what reading AWS's events gave.

use pretty_assertions::assert_eq;
use serde_json::Value;

use super::recorded::{ACCOUNTS, Recorded, all};
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::history::{AttemptEnd, Finding, Memory, Published, RawEvent, Reader, StoredPiece, replay};
use crate::domain::names::Names;

const ARN: &str = "arn:aws:states:ap-northeast-2:123456789012:execution:pipe:1";

/// The event as the client converts it.
fn raw(event: &Value) -> RawEvent {
    let event_type = event["type"].as_str().unwrap().to_owned();
    let details =
        event.as_object().unwrap().iter().find(|(key, _)| key.ends_with("EventDetails")).map(|(_, value)| value);
    let text = |key: &str| details.and_then(|details| details[key].as_str()).map(str::to_owned);
    let variables = details.and_then(|details| details["assignedVariables"].as_object()).into_iter().flatten();
    let is_state = event_type.ends_with("StateEntered") || event_type.ends_with("StateExited");
    RawEvent {
        id: event["id"].as_i64().unwrap(),
        previous: event["previousEventId"].as_i64().unwrap(),
        event_type,
        name: text("name").filter(|_| is_state),
        input: text("input").filter(|_| is_state),
        output: text("output").filter(|_| is_state),
        truncated: details.is_some_and(|details| details["outputDetails"]["truncated"] == true),
        variables: variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
        error: text("error"),
        cause: text("cause"),
        ..RawEvent::default()
    }
}

/// The events as they are stored, and read from there.
fn stored(recorded: &Recorded, names: &Names) -> Vec<RawEvent> {
    let mut bytes = 0;
    let kept = recorded.events.iter().map(|event| raw(event).to_store(names, &mut bytes));
    kept.map(|event| serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap()).collect()
}

fn published(events: &[Event]) -> Vec<Published> {
    let of =
        |event: &Event| Published { attempt: 1, code: event.code.as_str().to_owned(), params: event.params.clone() };
    events.iter().map(of).collect()
}

/// Reads the history in pieces of `size` events as a deployment does, and replays it. Returns the differences.
fn replayed(recorded: &Recorded, size: usize, change: impl Fn(&mut Vec<Published>)) -> Vec<Finding> {
    let names = Names::default();
    let reader = Reader { names: &names, accounts: &ACCOUNTS };
    let events = stored(recorded, &names);
    let (mut memory, mut facts, mut emitted, mut pieces) =
        (Memory::default(), Facts::default(), Vec::new(), Vec::new());
    let mut end = 0;
    let mut error_code = None;
    while end < events.len() && error_code.is_none() {
        end = (end + size).min(events.len());
        let last = facts.last_history_event_id.unwrap_or(0);
        let visible: Vec<_> = events[..end].iter().map(RawEvent::event).collect();
        let reading = reader.read(&visible, last, memory);
        let acted = reading.facts.last_history_event_id.unwrap_or(last);
        let piece: Vec<RawEvent> =
            events.iter().filter(|event| event.id > last && event.id <= acted).cloned().collect();
        if !piece.is_empty() {
            pieces.push(StoredPiece { attempt: 1, execution_arn: ARN.to_owned(), events: piece });
        }
        emitted.extend(reading.events);
        facts.merge(reading.facts);
        memory = reading.memory;
        match reading.verdict {
            Some(crate::domain::history::Verdict::Failed { code, .. }) => error_code = Some(code.as_str().to_owned()),
            Some(_) => break,
            None => {}
        }
    }
    let mut published = published(&emitted);
    change(&mut published);
    let ends = [AttemptEnd { attempt: 1, error_code, facts }];
    let findings = replay(&names, ACCOUNTS[0], &pieces, &published, &ends);
    findings.into_iter().filter(|found| found.difference.is_some()).collect()
}

#[test]
fn stored_events_are_read_as_those_of_aws() {
    let names = Names::default();
    for recorded in all() {
        let reader = Reader { names: &names, accounts: &ACCOUNTS };
        let stored: Vec<_> = stored(&recorded, &names).iter().map(RawEvent::event).collect();
        let (from_aws, from_store) =
            (reader.read(&recorded.history(), 0, Memory::default()), reader.read(&stored, 0, Memory::default()));
        assert_eq!(from_store, from_aws, "{}", recorded.name);
    }
}

#[test]
fn unchanged_history_has_no_difference() {
    for recorded in all() {
        for size in [1, 3, usize::MAX / 2] {
            assert_eq!(replayed(&recorded, size, |_| ()), [], "{} in pieces of {size}", recorded.name);
        }
    }
}

#[test]
fn each_change_of_what_was_published_is_found() {
    for recorded in all().into_iter().filter(|recorded| !recorded.expected.events.is_empty()) {
        let missing = replayed(&recorded, 3, |published| _ = published.pop());
        assert!(
            missing[0].difference.as_ref().unwrap().contains("was not published"),
            "{}: {missing:?}",
            recorded.name
        );
        let changed = replayed(&recorded, 3, |published| {
            let first = published.first_mut().unwrap();
            first.params.insert("cluster_name".to_owned(), Value::from("another"));
        });
        let difference = changed[0].difference.as_ref().unwrap();
        assert!(difference.contains("cluster_name is read as") && difference.contains("another"), "{difference}");
        let added = replayed(&recorded, 3, |published| {
            let one = published[0].clone();
            published.push(one);
        });
        assert!(added.last().unwrap().difference.as_ref().unwrap().contains("no stored history event"), "{added:?}");
    }
}
