//! What `curl` shows of every endpoint: a final line break, times to the millisecond, numbers of a few digits.

use std::collections::BTreeSet;

use chrono::DateTime;
use panda::domain::deployment::Facts;
use serde_json::Value;

use super::{Api, Fixture};
use crate::schedules;
use crate::support::db::TestDb;

/// Places with too many digits, by path within the response.
fn imprecise(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| imprecise(value, &format!("{at}.{name}"), found));
        }
        Value::Array(items) => items.iter().for_each(|item| imprecise(item, at, found)),
        Value::String(text)
            if DateTime::parse_from_rfc3339(text).is_ok() && text.len() != "2026-01-31T09:30:00.123Z".len() =>
        {
            found.push(format!("{at}: {text}"));
        }
        Value::Number(number) if number.is_f64() => {
            let digits = number.to_string().split_once('.').map_or(0, |(_, fraction)| fraction.len());
            if digits > 3 {
                found.push(format!("{at}: {number}"));
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn curl__final_line_break_and_sensible_precision() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let mut fixture = Fixture::begin(&db.db).await;
    let measured = Facts {
        blue_latency_ms: Some(1.2),
        green_latency_ms: Some(0.7),
        blue_error_rate: Some(0.4),
        green_error_rate: Some(0.2),
        ..Facts::default()
    };
    fixture.learn(measured).await;
    fixture.complete().await;
    let schedule = schedules::made(&db.db, &schedules::hourly(&db.db).await).await;
    schedules::due_now(&db, &schedule).await;
    schedules::look(&db.db).await.unwrap();
    let document = api.get("/api-docs/openapi.json").await;
    assert!(document.text.ends_with("}\n"), "the document itself");
    let (mut imprecisions, mut read) = (Vec::new(), BTreeSet::new());
    for (path, item) in document.json()["paths"].as_object().unwrap() {
        if item.get("get").is_none() || path.ends_with("/events") {
            continue;
        }
        let id = if path.contains("schedules") { schedule.as_str() } else { fixture.id() };
        let names =
            if path.contains("reports") { vec!["dora", "lead-time", "slower-green", "failures"] } else { vec!["x"] };
        for name in names {
            let answer = api.get(&path.replace("{id}", id).replace("{name}", name)).await;
            assert!(answer.text.ends_with('\n'), "{path}: {:?}", answer.text);
            assert!(!answer.text.ends_with("\n\n"), "{path}: {:?}", answer.text);
            if let Ok(value) = serde_json::from_str(&answer.text) {
                imprecise(&value, path, &mut imprecisions);
            }
            if answer.status == 200 {
                read.insert(path.clone());
            }
        }
    }
    assert!(imprecisions.is_empty(), "{imprecisions:#?}");
    assert!(read.len() > 10, "{read:?}");
}
