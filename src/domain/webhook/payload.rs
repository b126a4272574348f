//! The body of a delivery, which docs/integrations.md documents. Members are only added; anything else is another version.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::catalogue::{EventType, Lang};
use crate::domain::event::StoredEvent;

/// Version of the members of `data`.
const VERSION: u32 = 1;

/// An event with the attributes of its deployment.
#[derive(Clone, Copy, Debug)]
pub struct PayloadSource<'a> {
    /// Code, parameters and number of the event.
    pub event: &'a StoredEvent,
    /// Id of the deployment, with the prefix `dep_`.
    pub deployment_id: &'a str,
    /// Status of the deployment after the event's commit.
    pub status: &'a str,
    /// Account or organisation of the source.
    pub owner: &'a str,
    /// Repository of the source.
    pub repo: &'a str,
    /// Branch of the deployment.
    pub branch: &'a str,
}

#[derive(Serialize)]
struct Payload<'a> {
    r#type: String,
    timestamp: String,
    version: u32,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    deployment_id: &'a str,
    attempt: i32,
    sequence: i64,
    code: &'a str,
    status: &'a str,
    owner: &'a str,
    repo: &'a str,
    branch: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Map<String, Value>>,
}

/// Renders the body of an event, and its type for filters.
pub fn body(source: PayloadSource<'_>, lang: Lang) -> (EventType, Bytes) {
    let event = source.event;
    let rendered = event.render(lang);
    let payload = Payload {
        r#type: format!("deployment.{}", rendered.event_type.as_str()),
        timestamp: time(event.created_at),
        version: VERSION,
        data: Data {
            deployment_id: source.deployment_id,
            attempt: event.attempt,
            sequence: event.seq,
            code: &event.code,
            status: source.status,
            owner: source.owner,
            repo: source.repo,
            branch: source.branch,
            message: &rendered.message,
            details: rendered.details.as_ref(),
        },
    };
    // Serialisation cannot fail: there are only texts, numbers and maps with text keys.
    (rendered.event_type, Bytes::from(serde_json::to_vec(&payload).unwrap_or_default()))
}

/// The body of a test delivery.
pub fn test_body(webhook: &str, now: DateTime<Utc>) -> Bytes {
    let body = serde_json::json!({
        "type": "webhook.test", "timestamp": time(now), "version": VERSION, "data": {"webhookId": webhook},
    });
    Bytes::from(body.to_string())
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
