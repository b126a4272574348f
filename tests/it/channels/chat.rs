//! Stand-ins of Slack, Discord and Teams: real HTTP servers that check requests as the services do, keep the messages, and answer as the test decides.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub const TOKEN: &str = "xoxb-very-secret";
pub const CHANNEL: &str = "C0123456789";

/// A message in the chat.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub thread: Option<String>,
    pub body: Value,
    pub updates: usize,
}

/// What the chat does with the next requests.
#[derive(Clone, Debug, Default)]
pub struct Mood {
    /// Answers to give in place of the usual one, the first first.
    pub answers: Vec<(u16, Value)>,
    /// The bot may not read histories.
    pub no_history: bool,
    /// Seconds of `Retry-After` in answers with 429; one when absent.
    pub retry_after: Option<u32>,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<Message>>,
    mood: Mutex<Mood>,
    requests: Mutex<Vec<String>>,
}

pub struct Chat {
    pub base: String,
    shared: Arc<Shared>,
}

impl Chat {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, shared }
    }

    pub fn slack_api(&self) -> String {
        format!("{}/api", self.base)
    }

    pub fn discord(&self) -> String {
        format!("{}/api/webhooks/123456789012345678/very-secret", self.base)
    }

    pub fn teams(&self) -> String {
        format!("{}/workflows/very-secret/invoke?sig=x", self.base)
    }

    pub fn mood(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    /// Messages that are not in a thread.
    pub fn roots(&self) -> Vec<Message> {
        self.messages().into_iter().filter(|one| one.thread.is_none()).collect()
    }

    /// Messages in the threads of others.
    pub fn replies(&self) -> Vec<Message> {
        self.messages().into_iter().filter(|one| one.thread.is_some()).collect()
    }

    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().clone()
    }

    /// Methods and paths of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().clone()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    shared.requests.lock().push(format!("{method} {}", uri.path()));
    let (scripted, retry_after) = {
        let mut mood = shared.mood.lock();
        let scripted = if mood.answers.is_empty() { None } else { Some(mood.answers.remove(0)) };
        (scripted, mood.retry_after.unwrap_or(1))
    };
    if let Some((status, body)) = scripted {
        let mut response = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
        if status == 429 {
            response.headers_mut().insert("retry-after", retry_after.into());
        }
        return response;
    }
    let path = uri.path().to_owned();
    if let Some(call) = path.strip_prefix("/api/webhooks/123456789012345678/very-secret") {
        return discord(&shared, &method, call, uri.query(), &body);
    }
    if path.starts_with("/workflows/very-secret/") {
        return teams(&shared, &body);
    }
    let authorised = headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    let answer =
        if authorised { slack(&shared, path.trim_start_matches("/api/"), &uri, &body) } else { error("invalid_auth") };
    axum::Json(answer).into_response()
}

fn error(name: &str) -> Value {
    json!({"ok": false, "error": name})
}

fn slack(shared: &Shared, call: &str, uri: &Uri, body: &Value) -> Value {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let channel = body["channel"].as_str().map(str::to_owned).or_else(|| asked("channel"));
    if channel.as_deref() != Some(CHANNEL) {
        return error("channel_not_found");
    }
    let mut messages = shared.messages.lock();
    match call {
        "chat.postMessage" | "chat.update" => {
            if let Some(wrong) = slack_blocks(body) {
                return json!({"ok": false, "error": "invalid_blocks", "response_metadata": {"messages": [wrong]}});
            }
            if call == "chat.update" {
                let Some(known) = messages.iter_mut().find(|one| body["ts"] == one.id.as_str()) else {
                    return error("message_not_found");
                };
                known.body = body.clone();
                known.updates += 1;
                return json!({"ok": true, "channel": CHANNEL, "ts": known.id});
            }
            let thread = body["thread_ts"].as_str().map(str::to_owned);
            if thread.as_ref().is_some_and(|thread| !messages.iter().any(|one| one.id == *thread)) {
                return error("thread_not_found");
            }
            let id = format!("{}.{:06}", chrono::Utc::now().timestamp(), messages.len() + 1);
            messages.push(Message { id: id.clone(), thread, body: body.clone(), updates: 0 });
            json!({"ok": true, "channel": CHANNEL, "ts": id})
        }
        "conversations.history" | "conversations.replies" => {
            if shared.mood.lock().no_history {
                return error("missing_scope");
            }
            let with_metadata = asked("include_all_metadata").as_deref() == Some("true");
            let thread = asked("ts").filter(|_| call == "conversations.replies");
            let oldest: f64 = asked("oldest").map_or(0.0, |oldest| oldest.parse().unwrap());
            let found = messages.iter().rev().filter(|one| one.thread == thread || thread.as_ref() == Some(&one.id));
            let found = found.filter(|one| one.id.parse::<f64>().unwrap() > oldest);
            let shown = found.map(|one| {
                let mut shown = json!({"type": "message", "ts": one.id, "text": one.body["text"]});
                if with_metadata {
                    shown["metadata"] = one.body["metadata"].clone();
                }
                shown
            });
            json!({"ok": true, "messages": shown.collect::<Vec<_>>(), "has_more": false})
        }
        _ => error("unknown_method"),
    }
}

/// The rule that blocks break, as Slack's reference has them.
fn slack_blocks(body: &Value) -> Option<String> {
    let length = |value: &Value| value.as_str().map_or(usize::MAX, |text| text.chars().count());
    let text = |value: &Value, kinds: &[&str], most: usize| {
        kinds.iter().any(|kind| value["type"] == *kind) && (1..=most).contains(&length(&value["text"]))
    };
    if !(1..=40_000).contains(&length(&body["text"])) {
        return Some("no_text".to_owned());
    }
    let blocks = body["blocks"].as_array().cloned().unwrap_or_default();
    let wrong = blocks.iter().find(|block| {
        let fits = match block["type"].as_str().unwrap_or_default() {
            "header" => text(&block["text"], &["plain_text"], 150),
            "section" => {
                let fields = block["fields"].as_array();
                let one = block["text"].is_null() || text(&block["text"], &["mrkdwn", "plain_text"], 3_000);
                let all = |fields: &Vec<Value>| {
                    (1..=10).contains(&fields.len())
                        && fields.iter().all(|field| text(field, &["mrkdwn", "plain_text"], 2_000))
                };
                one && fields.is_none_or(all) && (fields.is_some() || !block["text"].is_null())
            }
            "actions" => block["elements"].as_array().is_some_and(|elements| {
                (1..=25).contains(&elements.len())
                    && elements.iter().all(|one| {
                        one["type"] == "button"
                            && text(&one["text"], &["plain_text"], 75)
                            && length(&one["url"]) <= 3_000
                    })
            }),
            _ => false,
        };
        !fits
    });
    if blocks.len() > 50 { Some("too many blocks".to_owned()) } else { wrong.map(ToString::to_string) }
}

fn discord(shared: &Shared, method: &Method, call: &str, query: Option<&str>, body: &Value) -> Response {
    let refused = |status: StatusCode, code: i64| {
        (status, axum::Json(json!({"code": code, "message": "Invalid Form Body"}))).into_response()
    };
    let long = |value: &Value, most: usize| value.as_str().is_some_and(|text| text.chars().count() > most);
    let embeds = body["embeds"].as_array().cloned().unwrap_or_default();
    let whole: usize = embeds.iter().map(|embed| embed.to_string().chars().count()).sum();
    let wrong = long(&body["content"], 2_000)
        || embeds.len() > 10
        || whole > 9_000
        || embeds.iter().any(|embed| {
            let fields = embed["fields"].as_array().cloned().unwrap_or_default();
            long(&embed["title"], 256)
                || long(&embed["description"], 4_096)
                || fields.len() > 25
                || fields.iter().any(|field| {
                    long(&field["name"], 256) || long(&field["value"], 1_024) || field["value"].as_str() == Some("")
                })
        });
    if wrong || (body["content"].as_str().unwrap_or_default().is_empty() && embeds.is_empty()) {
        return refused(StatusCode::BAD_REQUEST, 50_035);
    }
    let mut messages = shared.messages.lock();
    if *method == Method::POST && call.is_empty() && query == Some("wait=true") {
        let id = format!("{}", 9_000_000_000_000_000 + messages.len());
        messages.push(Message { id: id.clone(), thread: None, body: body.clone(), updates: 0 });
        return axum::Json(json!({"id": id})).into_response();
    }
    let id = call.strip_prefix("/messages/").unwrap_or_default();
    match messages.iter_mut().find(|one| one.id == id) {
        Some(known) if *method == Method::PATCH => {
            known.body = body.clone();
            known.updates += 1;
            axum::Json(json!({"id": id})).into_response()
        }
        _ => refused(StatusCode::NOT_FOUND, 10_008),
    }
}

/// Checks a card as version 1.4 of the schema has it, with the elements that Panda uses.
fn teams(shared: &Shared, body: &Value) -> Response {
    let card = &body["attachments"][0]["content"];
    let keys = |value: &Value, known: &[&str]| {
        value.as_object().is_some_and(|members| members.keys().all(|key| known.contains(&key.as_str())))
    };
    let element = |one: &Value| match one["type"].as_str().unwrap_or_default() {
        "TextBlock" => keys(one, &["type", "text", "wrap", "size", "weight"]) && one["text"].is_string(),
        "FactSet" => one["facts"].as_array().is_some_and(|facts| {
            facts
                .iter()
                .all(|fact| keys(fact, &["title", "value"]) && fact["title"].is_string() && fact["value"].is_string())
        }),
        _ => false,
    };
    let fits = body["type"] == "message"
        && body["attachments"][0]["contentType"] == "application/vnd.microsoft.card.adaptive"
        && keys(card, &["$schema", "type", "version", "body", "actions", "msteams"])
        && card["type"] == "AdaptiveCard"
        && card["body"].as_array().is_some_and(|body| body.iter().all(element))
        && card["actions"].as_array().is_none_or(|actions| {
            actions.iter().all(|one| one["type"] == "Action.OpenUrl" && keys(one, &["type", "title", "url"]))
        })
        && body.to_string().len() <= 28 * 1024;
    if !fits {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let mut messages = shared.messages.lock();
    let id = messages.len().to_string();
    messages.push(Message { id, thread: None, body: body.clone(), updates: 0 });
    StatusCode::ACCEPTED.into_response()
}
