//! Slack: one message per deployment, updated in place, and a thread with its milestones.
//!
//! Each message carries metadata that name its receiver and deployment. A message that may exist already is looked up by them before it is posted; a
//! bot without the scope to read the channel's history cannot, and then a crash may repeat a message.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::http::{ChatHttp, ChatRequest};
use super::json_body;
use crate::domain::receiver::attempt::{AttemptAnswer, AttemptVerdict};
use crate::domain::receiver::channel::SlackChannel;
use crate::domain::receiver::channel::card::Card;
use crate::domain::receiver::{DeliveryReceiver, Projection, ProjectionOutcome};
use crate::domain::text;

/// Longest header of a message.
const MAX_HEADER: usize = 150;

/// Longest text of a section, and of one of its fields.
const MAX_SECTION: usize = 3_000;
const MAX_FIELD: usize = 2_000;

/// Most messages of a page of a history, and most pages.
const PAGE: usize = 100;
const MAX_PAGES: usize = 5;

/// Type of the metadata of messages.
const EVENT_TYPE: &str = "panda_deployment";

/// The message of a deployment, as it is remembered.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Reference {
    channel: String,
    ts: String,
    /// Newest milestone in the thread.
    #[serde(default)]
    replied: i64,
}

/// A bot in a channel.
pub(super) struct Slack<'a> {
    http: &'a ChatHttp,
    token: &'a SecretString,
    api: Url,
    receiver: &'a str,
    channel: &'a str,
}

impl<'a> Slack<'a> {
    pub(super) fn new(
        http: &'a ChatHttp,
        receiver: &'a DeliveryReceiver,
        channel: &'a SlackChannel,
    ) -> Result<Self, AttemptAnswer> {
        let token = receiver.credentials.secret().ok_or_else(|| AttemptAnswer::failed("the bot token is missing"))?;
        let api = Url::parse(&format!("{}/", channel.api_url.trim_end_matches('/')));
        let api = api.map_err(|_| AttemptAnswer::failed("the address of the API is invalid"))?;
        Ok(Self { http, token, api, receiver: &receiver.id, channel: &channel.channel })
    }

    pub(super) async fn show(&self, card: &Card, projection: &Projection) -> ProjectionOutcome {
        let known = projection.reference.clone().and_then(|value| serde_json::from_value::<Reference>(value).ok());
        // A message of another channel is left as it is.
        let known = known.filter(|known| known.channel == self.channel);
        let mut shown = match self.show_message(known, card, projection).await {
            Ok(shown) => shown,
            Err(answer) => return answer.into(),
        };
        let replied = self.reply(&mut shown, card, projection).await;
        let reference = serde_json::to_value(&shown).ok();
        let answer = replied.err().unwrap_or_else(|| AttemptAnswer::delivered(Some(200)));
        ProjectionOutcome { answer, reference }
    }

    pub(super) async fn test(&self, text: &str) -> AttemptAnswer {
        let body = json!({"channel": self.channel, "text": escape(text)});
        self.call("chat.postMessage", &body).await.map_or_else(|error| error, |_| AttemptAnswer::delivered(Some(200)))
    }

    /// Updates the message, or posts it if there is none.
    async fn show_message(
        &self,
        known: Option<Reference>,
        card: &Card,
        projection: &Projection,
    ) -> Result<Reference, AttemptAnswer> {
        let found = match known {
            None if projection.may_exist => self.find(card, projection).await?,
            known => known,
        };
        let mut body = self.message(card);
        if let Some(found) = found {
            body["ts"] = json!(found.ts);
            match self.call("chat.update", &body).await {
                Ok(_) => return Ok(found),
                // It was removed, or may be changed no longer: another one takes its place.
                Err(error) if is_lost(&error) => {}
                Err(error) => return Err(error),
            }
            if let Some(body) = body.as_object_mut() {
                body.remove("ts");
            }
        }
        let posted = self.call("chat.postMessage", &body).await?;
        let ts = posted["ts"].as_str().unwrap_or_default().to_owned();
        // The message shows the newest milestone itself; its thread begins with those before.
        Ok(Reference { channel: self.channel.to_owned(), ts, replied: 0 })
    }

    /// Posts the milestones that the thread lacks.
    async fn reply(&self, shown: &mut Reference, card: &Card, projection: &Projection) -> Result<(), AttemptAnswer> {
        let Some(newest) = card.milestone.filter(|newest| *newest > shown.replied) else { return Ok(()) };
        if projection.may_exist && self.is_replied(&shown.ts, newest).await? {
            shown.replied = newest;
            return Ok(());
        }
        let mut lines: Vec<String> = card.lines.iter().map(|line| escape(line)).collect();
        if card.newly_awaited && !card.mentions.is_empty() {
            lines.push(request(card));
        }
        let text = text::cut(&lines.join("\n"), MAX_SECTION);
        let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}});
        let metadata = json!({"event_type": EVENT_TYPE, "event_payload": {
            "receiver": self.receiver, "deployment": card.deployment, "seq": newest}});
        let body = json!({"channel": self.channel, "thread_ts": shown.ts, "text": text, "blocks": [section],
                          "unfurl_links": false, "unfurl_media": false, "metadata": metadata});
        self.call("chat.postMessage", &body).await?;
        shown.replied = newest;
        Ok(())
    }

    fn message(&self, card: &Card) -> Value {
        let field = |(name, value): &(String, String)| {
            let text = text::cut(&format!("*{}*\n{}", escape(name), escape(value)), MAX_FIELD);
            json!({"type": "mrkdwn", "text": text, "verbatim": true})
        };
        let fields: Vec<Value> = card.fields.iter().take(10).map(field).collect();
        let title = card.title();
        let mut blocks = vec![
            json!({"type": "header", "text": {"type": "plain_text", "text": text::cut(&title, MAX_HEADER), "emoji": false}}),
            json!({"type": "section", "fields": fields}),
        ];
        if !card.mentions.is_empty() {
            blocks
                .push(json!({"type": "section", "text": {"type": "mrkdwn", "text": request(card), "verbatim": true}}));
        }
        if let Some((url, text)) = &card.link {
            let button = json!({"type": "button", "action_id": "open", "url": url.as_str(),
                                "text": {"type": "plain_text", "text": text, "emoji": false}});
            blocks.push(json!({"type": "actions", "elements": [button]}));
        }
        json!({
            "channel": self.channel, "text": text::cut(&escape(&title), MAX_SECTION), "blocks": blocks,
            "unfurl_links": false, "unfurl_media": false,
            "metadata": {"event_type": EVENT_TYPE, "event_payload": {"receiver": self.receiver, "deployment": card.deployment}},
        })
    }

    /// Looks for the message of a deployment since its start.
    async fn find(&self, card: &Card, projection: &Projection) -> Result<Option<Reference>, AttemptAnswer> {
        let oldest = projection.deployment.started_at.timestamp() - 60;
        let query = [("oldest", oldest.to_string())];
        let wanted = |payload: &Value| {
            payload["receiver"] == self.receiver
                && payload["deployment"] == card.deployment.as_str()
                && payload["seq"].is_null()
        };
        let found = self.look("conversations.history", &query, wanted).await?;
        Ok(found.map(|ts| Reference { channel: self.channel.to_owned(), ts, replied: 0 }))
    }

    /// Reports that the thread has a milestone.
    async fn is_replied(&self, ts: &str, newest: i64) -> Result<bool, AttemptAnswer> {
        let wanted = |payload: &Value| payload["receiver"] == self.receiver && payload["seq"].as_i64() == Some(newest);
        Ok(self.look("conversations.replies", &[("ts", ts.to_owned())], wanted).await?.is_some())
    }

    /// Returns the timestamp of the first message whose metadata are wanted; none where the bot may not read the channel.
    async fn look(
        &self,
        method: &str,
        query: &[(&str, String)],
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Option<String>, AttemptAnswer> {
        let mut cursor = String::new();
        for _ in 0..MAX_PAGES {
            let mut url = self.url(method)?;
            url.query_pairs_mut()
                .append_pair("channel", self.channel)
                .append_pair("include_all_metadata", "true")
                .append_pair("limit", &PAGE.to_string())
                .extend_pairs(query)
                .extend_pairs(Some(("cursor", &cursor)).filter(|_| !cursor.is_empty()));
            let answer = match self.answer(url, ChatRequest::Get).await {
                Ok(answer) => answer,
                Err(error) if error.reason.as_deref() == Some("slack: missing_scope") => return Ok(None),
                Err(error) => return Err(error),
            };
            let messages = answer["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            let found = messages.iter().find(|message| {
                message["metadata"]["event_type"] == EVENT_TYPE && wanted(&message["metadata"]["event_payload"])
            });
            if let Some(ts) = found.and_then(|message| message["ts"].as_str()) {
                return Ok(Some(ts.to_owned()));
            }
            answer["response_metadata"]["next_cursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
            if cursor.is_empty() {
                break;
            }
        }
        Ok(None)
    }

    fn url(&self, method: &str) -> Result<Url, AttemptAnswer> {
        self.api.join(method).map_err(|_| AttemptAnswer::failed("the address of the API is invalid"))
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Value, AttemptAnswer> {
        self.answer(self.url(method)?, ChatRequest::Post(json_body(body))).await
    }

    /// Sends a request. Slack answers most errors with status 200 and their name.
    async fn answer(&self, url: Url, request: ChatRequest) -> Result<Value, AttemptAnswer> {
        let answer = self.http.send(url, Some(self.token), request).await?;
        let by_status = answer.of_status();
        if by_status.verdict != AttemptVerdict::Delivered {
            // An address that is gone is one of Slack's, not of the channel.
            let verdict = AttemptVerdict::Failed;
            return Err(AttemptAnswer { verdict, ..by_status });
        }
        if answer.body["ok"] == true {
            return Ok(answer.body);
        }
        let error = answer.body["error"].as_str().unwrap_or("no answer of Slack's Web API");
        let verdict = match error {
            "token_revoked" | "account_inactive" => AttemptVerdict::Gone,
            "invalid_blocks"
            | "invalid_blocks_format"
            | "msg_too_long"
            | "no_text"
            | "invalid_arguments"
            | "metadata_too_large" => AttemptVerdict::Refused,
            _ => AttemptVerdict::Failed,
        };
        let reason = Some(format!("slack: {}", text::cut(&text::visible(error), 100)));
        Err(AttemptAnswer { verdict, status: Some(answer.status), retry_after: answer.retry_after, reason })
    }
}

/// Reports that a message cannot be changed any more.
fn is_lost(error: &AttemptAnswer) -> bool {
    let lost = ["slack: message_not_found", "slack: cant_update_message", "slack: edit_window_closed"];
    error.reason.as_deref().is_some_and(|reason| lost.contains(&reason))
}

/// The request to approvers, whose ids were checked when they were stored.
fn request(card: &Card) -> String {
    let mention = |id: &String| if id.starts_with('S') { format!("<!subteam^{id}>") } else { format!("<@{id}>") };
    let mentions: Vec<String> = card.mentions.iter().map(mention).collect();
    format!("{} {}", mentions.join(" "), escape(&card.request))
}

/// Escapes text for Slack's markup, so that it mentions no one and links to nothing.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
