//! Discord: one message per deployment by an incoming webhook, updated in place.
//!
//! A webhook cannot list its messages: a crash between the answer to the first message of a deployment and its commit repeats that message.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

use super::http::{ChatAnswer, ChatHttp, ChatRequest};
use super::json_body;
use crate::domain::receiver::attempt::{AttemptAnswer, AttemptVerdict};
use crate::domain::receiver::channel::card::Card;
use crate::domain::receiver::{DeliveryReceiver, Projection, ProjectionOutcome};
use crate::domain::text;

/// Limits of an embed, in characters.
const MAX_TITLE: usize = 256;
const MAX_VALUE: usize = 1_024;
const MAX_DESCRIPTION: usize = 3_000;

/// Code of Discord's error for a webhook that was removed.
const UNKNOWN_WEBHOOK: i64 = 10_015;

/// Code of Discord's error for a message that was removed.
const UNKNOWN_MESSAGE: i64 = 10_008;

pub(super) async fn show(
    http: &ChatHttp,
    receiver: &DeliveryReceiver,
    card: &Card,
    projection: &Projection,
) -> ProjectionOutcome {
    let hook = match hook(receiver) {
        Ok(hook) => hook,
        Err(answer) => return answer.into(),
    };
    let known = projection.reference.as_ref().and_then(|reference| reference["message"].as_str());
    if let Some(id) = known.filter(|id| id.bytes().all(|b| b.is_ascii_digit())) {
        match update(http, &hook, id, card).await {
            Ok(()) => return notify(http, &hook, card).await.into(),
            Err((answer, UNKNOWN_MESSAGE)) if answer.status == Some(404) => {}
            Err((answer, _)) => return answer.into(),
        }
    }
    match post(http, &hook, &message(card)).await {
        Ok(id) => {
            ProjectionOutcome { answer: AttemptAnswer::delivered(Some(200)), reference: Some(json!({"message": id})) }
        }
        Err(answer) => answer.into(),
    }
}

pub(super) async fn test(http: &ChatHttp, receiver: &DeliveryReceiver, text: &str) -> AttemptAnswer {
    let hook = match hook(receiver) {
        Ok(hook) => hook,
        Err(answer) => return answer,
    };
    let body = json!({"content": escape(text), "allowed_mentions": {"parse": []}});
    post(http, &hook, &body).await.map_or_else(|answer| answer, |_| AttemptAnswer::delivered(Some(200)))
}

/// An update notifies no one: a request to approvers is a separate message.
async fn notify(http: &ChatHttp, hook: &Url, card: &Card) -> AttemptAnswer {
    if !card.newly_awaited || card.mentions.is_empty() {
        return AttemptAnswer::delivered(Some(200));
    }
    let body = json!({"content": request(card), "allowed_mentions": allowed(&card.mentions)});
    post(http, hook, &body).await.map_or_else(|answer| answer, |_| AttemptAnswer::delivered(Some(200)))
}

fn hook(receiver: &DeliveryReceiver) -> Result<Url, AttemptAnswer> {
    let secret = receiver.credentials.secret().ok_or_else(|| AttemptAnswer::failed("the address is missing"))?;
    Url::parse(secret.expose_secret()).map_err(|_| AttemptAnswer::failed("the address is invalid"))
}

async fn post(http: &ChatHttp, hook: &Url, body: &Value) -> Result<String, AttemptAnswer> {
    let mut url = hook.clone();
    url.query_pairs_mut().append_pair("wait", "true");
    let answer = http.send(url, None, ChatRequest::Post(json_body(body))).await?;
    check(&answer).map_err(|(answer, _)| answer)?;
    Ok(answer.body["id"].as_str().unwrap_or_default().to_owned())
}

async fn update(http: &ChatHttp, hook: &Url, id: &str, card: &Card) -> Result<(), (AttemptAnswer, i64)> {
    let mut url = hook.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["messages", id]);
    }
    let body = ChatRequest::Patch(json_body(&message(card)));
    let answer = http.send(url, None, body).await.map_err(|answer| (answer, 0))?;
    check(&answer)
}

/// Decides about an answer, and returns Discord's code of an error.
fn check(answer: &ChatAnswer) -> Result<(), (AttemptAnswer, i64)> {
    let mut result = answer.of_status();
    if result.verdict == AttemptVerdict::Delivered {
        return Ok(());
    }
    let code = answer.body["code"].as_i64().unwrap_or_default();
    result.verdict = match (answer.status, code) {
        (404, UNKNOWN_WEBHOOK) => AttemptVerdict::Gone,
        (400, _) => AttemptVerdict::Refused,
        _ => AttemptVerdict::Failed,
    };
    if let Some(message) = answer.body["message"].as_str() {
        result.reason = Some(format!("discord: status {}, {}", answer.status, text::cut(&text::visible(message), 200)));
    }
    Err((result, code))
}

fn message(card: &Card) -> Value {
    let field = |(name, value): &(String, String)| json!({"name": text::cut(&escape(name), MAX_TITLE), "value": text::cut(&escape(value), MAX_VALUE), "inline": true});
    let lines: Vec<String> = card.lines.iter().map(|line| escape(line)).collect();
    let mut embed = json!({
        "title": text::cut(&escape(&card.title()), MAX_TITLE), "color": card.state.colour(),
        "description": text::cut(&lines.join("\n"), MAX_DESCRIPTION),
        "fields": card.fields.iter().take(10).map(field).collect::<Vec<_>>(),
    });
    if let Some((url, _)) = &card.link {
        embed["url"] = json!(url.as_str());
    }
    let content = if card.mentions.is_empty() { String::new() } else { request(card) };
    json!({"content": content, "embeds": [embed], "allowed_mentions": allowed(&card.mentions)})
}

/// Only these ids are notified, whatever the text says.
fn allowed(mentions: &[String]) -> Value {
    let (roles, users): (Vec<&str>, Vec<&str>) =
        mentions.iter().map(String::as_str).partition(|id| id.starts_with('&'));
    let roles: Vec<&str> = roles.iter().map(|id| id.trim_start_matches('&')).collect();
    json!({"parse": [], "users": users, "roles": roles})
}

fn request(card: &Card) -> String {
    let mentions: Vec<String> = card.mentions.iter().map(|id| format!("<@{id}>")).collect();
    format!("{} {}", mentions.join(" "), escape(&card.request))
}

/// Escapes text for Discord's markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '|' | '>' | '<' | '[' | ']' | '(' | ')' | '#' | '@' | '`' | ':') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
