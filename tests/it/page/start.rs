//! Starting a deployment: connections, the form, schedules.

mod deploy;
mod first_deployment;
mod github_app;
mod roles;
mod schedules;
mod views;

use panda_sandbox::Sandbox;
use panda_sandbox::github::GitHub;
use panda_testing::web_page::WebPage;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::external_services::{self, TOKEN};
use crate::http::{Api, ExternalServices};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

/// An API without a reconciler, so that deployments stay as they were requested, with the sandbox's GitHub and STS.
struct Installation {
    db: TestDb,
    api: Api,
    sandbox: Sandbox,
    github: GitHub,
    _folder: TempDir,
}

impl Installation {
    async fn empty() -> Self {
        Self::with(&[]).await
    }

    async fn with(flags: &[&str]) -> Self {
        let db = TestDb::new().await;
        let (github, folder) = external_services::github().await;
        let sandbox = external_services::sandbox().await;
        let external = ExternalServices::default().with_github(&github).with_aws(&sandbox).with_public_url();
        let api = Panda::builder().database(&db.db).external(&external).flags(flags).api().await;
        Self { db, api, sandbox, github, _folder: folder }
    }

    /// Connects `acme/shop` and the user's account, and returns both ids.
    async fn connect(&self) -> (String, String) {
        let github = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": TOKEN});
        let github = self.api.post("/api/v1/connect/github", &github).await.json();
        let aws = self.api.post("/api/v1/connect/aws", &self.keys()).await.json();
        let id =
            |answer: &Value, name: &str| answer["data"][name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (id(&github, "githubConnectionId"), id(&aws, "awsConnectionId"))
    }

    fn keys(&self) -> Value {
        let keys = self.sandbox.user_credentials();
        json!({
            "region": self.sandbox.region(), "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key.expose_secret(),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api.address)
    }

    /// Ids of all deployments.
    async fn deployments(&self) -> Vec<String> {
        let list = self.api.get("/api/v1/deploy").await.json();
        let rows = list["data"]["deployments"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
        rows.iter().map(|row| row["deploymentId"].as_str().unwrap().to_owned()).collect()
    }
}

/// A browser that confirms what it is asked.
async fn browser() -> WebPage {
    let page = WebPage::open().await;
    page.call(json!(["accept_dialogs"])).await;
    page
}

/// Waits for the problem at a field, and returns its text.
pub async fn problem_at(page: &WebPage, field: &str) -> String {
    page.visible(&format!("{field}[aria-invalid=true]")).await;
    let text = format!(
        "document.getElementById(document.querySelector(`{field}`).getAttribute('aria-describedby')).innerText"
    );
    page.evaluate(&text).await
}
