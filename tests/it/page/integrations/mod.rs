//! Integrations: webhooks, channels and push hooks in a browser.

mod actions;
mod creation;
mod reading;

use panda::domain::principal::Role;
use panda_testing::answer::Caller;
use panda_testing::serve::Serve;
use panda_testing::web_page::{Display, WebPage};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::auth::Token;
use crate::http::{Api, ExternalServices, Fixture, fixture};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

/// A text of a receiver that tries to be markup and to mislead.
const HOSTILE: &str = "status 500 <img src=x onerror=alert(1)> \u{202e}gpj";

/// A server with an admin, and a browser in which the admin is signed in.
struct Installation {
    db: TestDb,
    /// The admin at the API.
    caller: Caller,
    page: WebPage,
    /// Kept until the end of the test.
    _servers: (Option<Api>, Option<Serve>),
}

impl Installation {
    /// The API without background work, which leaves deliveries as they are.
    async fn new() -> Self {
        let db = TestDb::new().await;
        let external = ExternalServices::default().with_public_url();
        let api = Panda::builder().database(&db.db).auth().external(&external).api().await;
        Self::at(format!("http://{}", api.address), db, (Some(api), None)).await
    }

    /// `panda serve`, which delivers, also to receivers on this machine.
    async fn delivering() -> Self {
        let db = TestDb::new().await;
        let flags = ["--auth=required", "--health-allow=127.0.0.0/8", "--rate-per-client=0"];
        let serve = Panda::builder().on(&db).flags(&flags).process().ready().await;
        Self::at(serve.url.clone(), db, (None, Some(serve))).await
    }

    async fn at(base: String, db: TestDb, servers: (Option<Api>, Option<Serve>)) -> Self {
        let admin = Token::of(&db.db, Role::Admin).await;
        let caller = Caller::of(base).signed_in(&admin.secret);
        let page = WebPage::open().await;
        let installation = Self { db, caller, page, _servers: servers };
        installation.sign_in(&admin.secret).await;
        installation
    }

    /// Signs in at the list, and confirms what the browser is asked from then on.
    async fn sign_in(&self, token: &str) {
        self.goto("/integrations").await;
        self.page.fill("input[name=token]", token).await;
        self.page.click(".sign-in form button").await;
        self.page.until("location.pathname === '/integrations'").await;
        self.page.call(json!(["accept_dialogs"])).await;
    }

    /// The admin signs in again, in a new profile.
    async fn sign_in_with(&self, display: Display) {
        self.page.profile(display).await;
        self.sign_in(self.caller.token().unwrap()).await;
    }

    /// The configured address of a path, which differs from that of the browser.
    fn public_url(&self, path: &str) -> String {
        format!("{}{path}", self.caller.base.replace("127.0.0.1", "localhost"))
    }

    async fn goto(&self, path: &str) {
        self.page.goto(&format!("{}{path}", self.caller.base)).await;
    }

    /// Posts to the API; the data of its answer.
    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.caller.post(path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["data"].clone()
    }

    /// Creates a webhook; its id.
    async fn webhook(&self, body: &Value) -> String {
        text(&self.post("/api/v1/webhooks", body).await["webhook"]["webhookId"])
    }

    /// Creates a channel; its id.
    async fn channel(&self, body: &Value) -> String {
        text(&self.post("/api/v1/channels", body).await["channelId"])
    }

    /// Connects `acme/shop` and an account, and creates a push hook of their rule; its id, and GitHub's webhook.
    async fn hook(&self, name: &str) -> (String, crate::pushes::Webhook) {
        let rule = json!({
            "githubConnectionId": fixture::github_connection(&self.db.db, "acme", "shop").await,
            "awsConnectionId": fixture::aws_connection(&self.db.db).await, "owner": "acme", "repo": "shop",
            "branches": ["main"], "ignorePaths": ["docs/**"], "labels": {"environment": "production"},
        });
        crate::pushes::hook(&self.caller, &json!({"name": name, "rules": [rule]})).await
    }

    /// Stores deliveries of the events of a new deployment in these states, which failed for a hostile reason.
    async fn deliveries(&self, receiver: &str, states: &[&str]) -> Vec<Uuid> {
        let mut deployment = Fixture::begin_of(&self.db.db, "acme", "shop").await;
        deployment.build_lines(1, u32::try_from(states.len()).unwrap()).await;
        let mut ids = Vec::new();
        for (at, state) in states.iter().enumerate() {
            let sql = "INSERT INTO receiver_deliveries (receiver_id, event_id, place, deployment_id, seq, state, attempts, next_attempt_at, last_status, last_error, created_at)
                       SELECT $1, id, seq, deployment_id, seq, $3, 17, CASE WHEN $3 = 'pending' THEN clock_timestamp() + interval '1 hour' END, 500, $4, clock_timestamp() - make_interval(secs => seq)
                       FROM deployment_events WHERE deployment_id = $2 ORDER BY seq OFFSET $5 LIMIT 1 RETURNING event_id";
            let id = sqlx::query_scalar(sql)
                .bind(receiver)
                .bind(deployment.id())
                .bind(state)
                .bind(HOSTILE)
                .bind(i64::try_from(at).unwrap())
                .fetch_one(&mut self.db.psql().await)
                .await
                .unwrap();
            ids.push(id);
        }
        ids
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
