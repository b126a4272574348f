//! Channels: deployments in Slack, Teams, Discord and mails, shown by `panda serve` to real servers.

mod api;
mod chat;
mod github;
mod hooks;
mod mail;
mod quiet;
mod slack;

use std::io::Write as _;
use std::process::{Command, Stdio};

use panda_testing::answer::Caller;
use panda_testing::serve::{Serve, ServeBuilder};
use serde_json::{Value, json};

pub use chat::{CHANNEL, Chat, Mood, TOKEN};

use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::panda::Panda;
use panda::db::commit::Change;
use panda::domain::catalogue::EventCode;
use panda::domain::deployment::{Facts, Status};
use panda::domain::event::Event;

pub const PATH: &str = "/api/v1/channels";

/// A commit's subject that tries everything that chats understand.
pub const HOSTILE: &str = "<!channel> <@U0000000000> @everyone [click](https://evil.example) **b** `x`\r\nBcc: evil@evil.example & \u{202e}txt";

/// A server that may reach servers on this machine, and knows its own address.
pub fn server(db: &TestDb) -> ServeBuilder {
    let flags = ["--health-allow=127.0.0.0/8", "--rate-per-client=0", "--public-url=https://panda.example.com"];
    Panda::builder().on(db).flags(&flags).process()
}

pub fn caller(serve: &Serve) -> Caller {
    Caller::of(serve.url.clone())
}

/// Creates a channel; its id.
pub async fn channel(serve: &Serve, body: &Value) -> String {
    let made = caller(serve).post(PATH, body).await.data("채널이 생성되었습니다.");
    made["channelId"].as_str().unwrap().to_owned()
}

pub fn slack(chat: &Chat) -> Value {
    json!({"kind": "slack", "secret": TOKEN, "slack": {"channel": CHANNEL, "apiUrl": chat.slack_api()}, "language": "en"})
}

/// The channel as the API shows it.
pub async fn shown(serve: &Serve, id: &str) -> Value {
    caller(serve).get(&format!("{PATH}/{id}")).await.data("채널 조회 성공")
}

/// Checks messages, as a list on its standard input, with a program that prints `valid` first.
pub fn valid(checker: &mut Command, bodies: &[Value]) {
    let mut child = checker.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(bodies).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"valid"), "{output:?}");
}

/// A deployment of a hostile commit.
pub async fn hostile(db: &TestDb) -> Fixture {
    let mut deployment = Fixture::begin_of(&db.db, "acme", "shop").await;
    let facts = Facts {
        commit_sha: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        commit_subject: Some(HOSTILE.repeat(20)),
        ..Facts::default()
    };
    deployment.learn(facts).await;
    deployment
}

/// Makes a deployment ready without releasing it, so that the server does not continue it.
pub async fn ready(deployment: &mut Fixture) {
    let events = vec![Event::new(EventCode::AwaitingSwitch), Event::new(EventCode::Ready)];
    deployment.commit(Change { status: Some(Status::DeploymentReady), events, ..Change::default() }).await;
}
