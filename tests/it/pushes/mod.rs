//! Push hooks: deployments that signed pushes start.

mod bodies;
mod crash;
mod flow;
mod github;
mod order;
mod permission;
mod resource;
mod rules;
mod signatures;

use panda::db::Db;
use panda::domain::principal::Role;
use panda_testing::answer::Caller;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::auth::{Token, serve};
use crate::http::{Answer, Api, fixture};
use crate::support::db::TestDb;
pub use github::{Webhook, ping, signature};

pub const PATH: &str = "/api/v1/hooks";
pub const CREATED: &str = "푸시 훅이 생성되었습니다.";
pub const SHOWN: &str = "푸시 훅 조회 성공";
pub const LISTED: &str = "푸시 수신 목록 조회 성공";

/// An API with a push hook of `acme/shop`, whose owner is an admin with a token.
pub struct Hooked {
    pub db: TestDb,
    pub api: Api,
    pub admin: Token,
    pub id: String,
    pub webhook: Webhook,
    /// The settings that created it.
    pub body: Value,
}

/// A rule of `acme/shop` for pushes to `main`; `more` has further members.
pub async fn rule(db: &Db, more: &Value) -> Value {
    let mut rule = json!({"githubConnectionId": fixture::github_connection(db, "acme", "shop").await,
                          "awsConnectionId": fixture::aws_connection(db).await, "owner": "acme", "repo": "shop", "branches": ["main"]});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

/// Creates a push hook; its id, and the webhook at GitHub.
pub async fn hook(caller: &Caller, body: &Value) -> (String, Webhook) {
    let made = caller.post(PATH, body).await.data(CREATED);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let url = format!("{}{}", caller.base, text(&made["hook"]["payloadPath"]));
    let webhook = Webhook { url, secret: text(&made["secret"]), client: caller.client.clone() };
    (text(&made["hook"]["hookId"]), webhook)
}

impl Hooked {
    pub async fn with(more: Value) -> Self {
        let db = TestDb::new().await;
        let api = serve(&db.db).await;
        let admin = Token::of(&db.db, Role::Admin).await;
        let body = json!({"rules": [rule(&db.db, &more).await]});
        let (id, webhook) = hook(&api.signed_in(&admin.secret), &body).await;
        Self { db, api, admin, id, webhook, body }
    }

    pub async fn new() -> Self {
        Self::with(json!({})).await
    }

    pub fn caller(&self) -> Caller {
        self.api.signed_in(&self.admin.secret)
    }

    /// The listed deliveries, newest first.
    pub async fn deliveries(&self) -> Vec<Value> {
        let page = self.caller().get(&format!("{PATH}/{}/deliveries?limit=100", self.id)).await.data(LISTED);
        page["deliveries"].as_array().unwrap().clone()
    }

    /// Decides on a delivery again.
    pub async fn redeliver(&self, delivery: &str) -> Answer {
        let path = format!("{PATH}/{}/deliveries/{delivery}/redelivery", self.id);
        Answer::of(self.caller().request(Method::POST, &path).send().await.unwrap()).await
    }

    /// Replaces members of the settings.
    pub async fn change(&self, more: &Value) {
        let mut body = self.body.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.caller().put(&format!("{PATH}/{}", self.id), &body).await.data("푸시 훅이 변경되었습니다.");
    }

    /// Number of deployments so far.
    pub async fn deployments(&self) -> i64 {
        crate::http::count(&self.db, "deployments").await
    }
}

/// The data of an event that was received; fails unless it has this reason.
pub fn received(answer: &Answer, reason: &str) -> Value {
    assert_eq!(answer.status, 202, "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["code"], &body["data"]["reasonCode"]), (&json!(202), &json!(reason)), "{body}");
    body["data"].clone()
}
