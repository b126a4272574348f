//! GitHub as the sender: its example payloads (octokit/webhooks, MIT licence), signed as it signs.

use aws_lc_rs::hmac;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::Answer;

/// A commit that does not exist.
pub const NONE: &str = "0000000000000000000000000000000000000000";

/// A commit's id of one digit.
pub fn id(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// A push of the commit `after` to `main` of `acme/shop`, which changed one file.
pub fn push(before: &str, after: &str) -> Value {
    let mut push: Value = serde_json::from_str(include_str!("push.json")).unwrap();
    of(&mut push["repository"], "acme", "shop");
    (push["ref"], push["before"], push["after"]) = (json!("refs/heads/main"), json!(before), json!(after));
    push["created"] = json!(before == NONE);
    for commit in [0, 1] {
        let commit = if commit == 0 { &mut push["commits"][0] } else { &mut push["head_commit"] };
        commit["id"] = json!(after);
        (commit["added"], commit["modified"]) = (json!(["src/main.rs"]), json!([]));
    }
    push
}

/// The same payload for another ref.
pub fn to_ref(mut push: Value, name: &str) -> Value {
    push["ref"] = json!(name);
    push
}

/// Sets the names of a repository in a payload.
pub fn of(repository: &mut Value, owner: &str, repo: &str) {
    repository["name"] = json!(repo);
    repository["full_name"] = json!(format!("{owner}/{repo}"));
    (repository["owner"]["login"], repository["owner"]["name"]) = (json!(owner), json!(owner));
}

/// A pull request to `acme/shop` from `head`.
pub fn pull_request(head: &str) -> Value {
    let mut request: Value = serde_json::from_str(include_str!("pull_request.json")).unwrap();
    let (owner, repo) = head.split_once('/').unwrap();
    of(&mut request["repository"], "acme", "shop");
    of(&mut request["pull_request"]["base"]["repo"], "acme", "shop");
    of(&mut request["pull_request"]["head"]["repo"], owner, repo);
    request
}

/// The event of a new webhook.
pub fn ping() -> Value {
    serde_json::from_str(include_str!("ping.json")).unwrap()
}

/// A webhook as GitHub has it in its settings.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: String,
    pub secret: String,
    pub client: Client,
}

impl Webhook {
    /// Sends an event with a new delivery id, as JSON.
    pub async fn send(&self, event: &str, payload: &Value) -> Answer {
        self.redeliver(event, Uuid::new_v4(), payload).await
    }

    /// Sends an event under a delivery id.
    pub async fn redeliver(&self, event: &str, delivery: Uuid, payload: &Value) -> Answer {
        Answer::of(self.request(event, delivery, payload.to_string().into_bytes()).send().await.unwrap()).await
    }

    /// A request with body and signature.
    pub fn request(&self, event: &str, delivery: Uuid, body: Vec<u8>) -> RequestBuilder {
        self.unsigned(event, delivery).header("x-hub-signature-256", signature(&self.secret, &body)).body(body)
    }

    /// A request without body and signature.
    pub fn unsigned(&self, event: &str, delivery: Uuid) -> RequestBuilder {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("user-agent", "GitHub-Hookshot/044aadd".parse().unwrap());
        headers.insert("x-github-event", event.parse().unwrap());
        headers.insert("x-github-delivery", delivery.to_string().parse().unwrap());
        headers.insert("x-github-hook-id", "292430182".parse().unwrap());
        self.client.post(&self.url).headers(headers)
    }
}

/// Value of the header `X-Hub-Signature-256`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
