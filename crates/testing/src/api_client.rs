//! The API as a front end uses it.

use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::Program;
use crate::environment::{Environment, OWNER, TOKEN};

/// A client of one server.
#[derive(Clone, Debug)]
pub struct ApiClient {
    /// The server's address, without a path.
    pub base: String,
    pub http: Client,
}

impl ApiClient {
    /// A client for the server at `base`.
    pub fn of(base: impl Into<String>) -> Self {
        Self { base: base.into(), http: Client::new() }
    }

    /// The address of an API path.
    pub fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let answer = self.http.post(self.url(path)).json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.http.get(self.url(path)).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Checks the readiness probe.
    pub async fn is_ready(&self) -> bool {
        let ready = self.http.get(format!("{}/readyz", self.base)).send().await;
        ready.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Connects GitHub and AWS of the environment and returns a deploy request.
    pub async fn connect<P: Program>(&self, env: &Environment<P>) -> Value {
        let source = json!({"owner": OWNER, "repo": env.repo, "branch": "main", "token": TOKEN});
        let (status, github) = self.post("/connect/github", &source).await;
        assert_eq!((status, &github["message"]), (StatusCode::OK, &json!("GitHub 연결에 성공했습니다.")), "{github}");
        let keys = env.sandbox.user_credentials();
        let account = json!({
            "region": env.sandbox.region(), "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key.expose_secret(),
        });
        let (status, aws) = self.post("/connect/aws", &account).await;
        assert_eq!((status, &aws["message"]), (StatusCode::OK, &json!("AWS 연결에 성공했습니다.")), "{aws}");
        json!({
            "githubConnectionId": github["data"]["githubConnectionId"], "awsConnectionId": aws["data"]["awsConnectionId"],
            "owner": OWNER, "repo": env.repo, "branch": "main",
        })
    }

    /// Starts a deployment and returns its id.
    pub async fn deploy(&self, request: &Value) -> String {
        let (status, deployed) = self.post("/deploy", request).await;
        assert_eq!(status, StatusCode::OK, "{deployed}");
        deployed["data"]["deploymentId"].as_str().unwrap().to_owned()
    }

    /// Sends a command for a deployment: `switch`, `retry`, `cancel`.
    pub async fn command(&self, id: &str, what: &str) {
        let (status, answer) = self.post(&format!("/deploy/{id}/{what}"), &json!({})).await;
        assert_eq!(status, StatusCode::OK, "{what}: {answer}");
    }
}
