//! Teams: a card for each milestone, by a webhook of Workflows. Such a webhook cannot change what it posted, and does not name it: a crash between its
//! answer and the commit repeats the card.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

use super::http::{ChatHttp, ChatRequest};
use super::json_body;
use crate::domain::receiver::DeliveryReceiver;
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::receiver::channel::card::Card;
use crate::domain::text;

/// Longest text of the milestones: a whole message may have 28 KB.
const MAX_LINES: usize = 4_000;

pub(super) async fn show(http: &ChatHttp, receiver: &DeliveryReceiver, card: &Card) -> AttemptAnswer {
    post(http, receiver, &adaptive_card(card)).await
}

pub(super) async fn test(http: &ChatHttp, receiver: &DeliveryReceiver, text: &str) -> AttemptAnswer {
    let body = json!([{"type": "TextBlock", "text": escape(text), "wrap": true}]);
    post(http, receiver, &content(&body)).await
}

async fn post(http: &ChatHttp, receiver: &DeliveryReceiver, card: &Value) -> AttemptAnswer {
    let Some(secret) = receiver.credentials.secret() else { return AttemptAnswer::failed("the address is missing") };
    let Ok(url) = Url::parse(secret.expose_secret()) else { return AttemptAnswer::failed("the address is invalid") };
    let attachment =
        json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card});
    let body = json!({"type": "message", "attachments": [attachment]});
    let answer = match http.send(url, None, ChatRequest::Post(json_body(&body))).await {
        Ok(answer) => answer,
        Err(answer) => return answer,
    };
    match answer.status {
        400 | 413 => AttemptAnswer::refused(Some(answer.status), format!("status {}", answer.status)),
        _ => answer.of_status(),
    }
}

fn content(body: &Value) -> Value {
    json!({"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body})
}

fn adaptive_card(card: &Card) -> Value {
    let fact = |(name, value): &(String, String)| json!({"title": escape(name), "value": escape(value)});
    let lines: Vec<String> = card.lines.iter().map(|line| escape(line)).collect();
    let block = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
    let mut body = vec![
        json!({"type": "TextBlock", "text": escape(&card.title()), "wrap": true, "size": "Medium", "weight": "Bolder"}),
        json!({"type": "FactSet", "facts": card.fields.iter().map(fact).collect::<Vec<_>>()}),
    ];
    if !lines.is_empty() {
        // An empty line ends a paragraph of Teams' markup.
        body.push(block(&text::cut(&lines.join("\n\n"), MAX_LINES)));
    }
    if !card.mentions.is_empty() {
        let names: Vec<String> = card.mentions.iter().map(|id| format!("<at>{id}</at>")).collect();
        body.push(block(&format!("{} {}", names.join(" "), escape(&card.request))));
    }
    let mut content = content(&json!(body));
    if !card.mentions.is_empty() {
        let entity = |id: &String| json!({"type": "mention", "text": format!("<at>{id}</at>"), "mentioned": {"id": id, "name": id}});
        content["msteams"] = json!({"entities": card.mentions.iter().map(entity).collect::<Vec<_>>()});
    }
    if let Some((url, text)) = &card.link {
        content["actions"] = json!([{"type": "Action.OpenUrl", "title": text, "url": url.as_str()}]);
    }
    content
}

/// Escapes text for the markup of cards, so that it has no links and mentions no one.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '*' | '_' | '[' | ']' | '(' | ')' | '`' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}
