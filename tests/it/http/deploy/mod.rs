mod cancel;
mod create;
mod current;
mod events;
mod events_end;
mod events_outage;
mod events_resume;
mod freeze;
mod labels;
mod list;
mod log;
mod outcome;
mod policy;
mod result;
mod retry;
mod rollback;
mod source;
mod switch;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Api, ExternalServices, fixture};
use crate::support::db::TestDb;

const PATH: &str = "/api/v1/deploy";

/// An API with the connections that deploy requests of `acme/shop` need.
struct DeployApi {
    db: TestDb,
    api: Api,
    github: String,
    aws: String,
    defaults: Value,
}

impl DeployApi {
    /// Serves an API whose requests have these fields unless a test replaces them.
    async fn serve(defaults: Value) -> Self {
        Self::serve_with(defaults, &[]).await
    }

    async fn serve_with(defaults: Value, flags: &[&str]) -> Self {
        let db = TestDb::new().await;
        let api = Api::serve_with(&db.db, &ExternalServices::default(), flags).await;
        let (github, aws) = fixture::connections(&db.db).await;
        Self { db, api, github, aws, defaults }
    }

    /// The body of a request with `fields` added or replaced.
    fn body(&self, fields: &Value) -> Value {
        let mut body =
            json!({"githubConnectionId": self.github, "awsConnectionId": self.aws, "owner": "acme", "repo": "shop"});
        for (name, value) in self.defaults.as_object().unwrap().iter().chain(fields.as_object().unwrap()) {
            body[name] = value.clone();
        }
        body
    }

    async fn deploy(&self, fields: &Value, key: Option<&str>) -> Answer {
        let mut request = self.api.request(Method::POST, PATH).json(&self.body(fields));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Answer::of(request.send().await.unwrap()).await
    }
}
