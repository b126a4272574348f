//! Load before, during and after the update: events of deployments that the bench drives, and requests, among them new deployments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panda::db::Db;
use panda::domain::Deployment;
use panda::domain::connection::GithubConnection;
use panda::domain::ids;
use secrecy::SecretString;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use panda_benches::rows::{append, build_line};
use panda_benches::sandbox::SandboxProcess;

/// Interval between two events of the bench's own deployments.
const EVENT_INTERVAL: Duration = Duration::from_millis(50);

/// Interval between two new deployments.
const DEPLOY_INTERVAL: Duration = Duration::from_millis(500);

/// Owner of the deployed repositories.
pub const DEPLOYED: &str = "short";

/// Load that runs until it is stopped.
pub struct Load {
    on: Arc<AtomicBool>,
    events: JoinHandle<usize>,
    queries: JoinHandle<Answers>,
    deployments: JoinHandle<Answers>,
}

/// Counts of answers to requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    pub well: usize,
    /// Answers other than 200, and missing answers.
    pub badly: usize,
}

impl Load {
    /// Starts it. Every `interval` requests a result, on a kept connection and on a new one.
    pub async fn start(
        db: &Db,
        own: (Uuid, Vec<Deployment>),
        sandbox: &SandboxProcess,
        balancer: SocketAddr,
        interval: Duration,
    ) -> Self {
        let aws = sandbox.user_connection();
        db.insert_aws_connection(&aws).await.unwrap();
        let on = Arc::new(AtomicBool::new(true));
        let asked = format!("http://{balancer}/api/v1/deploy/{}/result", own.1[0].id);
        Self {
            events: tokio::spawn(tell(db.clone(), own, Arc::clone(&on))),
            queries: tokio::spawn(ask(asked, interval, Arc::clone(&on))),
            deployments: tokio::spawn(deploy(db.clone(), aws.id, balancer, Arc::clone(&on))),
            on,
        }
    }

    /// Stops the load and returns the number of published events, and the answers to queries and to new deployments.
    pub async fn stop(self) -> (usize, Answers, Answers) {
        self.on.store(false, Ordering::Relaxed);
        (self.events.await.unwrap(), self.queries.await.unwrap(), self.deployments.await.unwrap())
    }
}

async fn tell(db: Db, (me, mut rows): (Uuid, Vec<Deployment>), on: Arc<AtomicBool>) -> usize {
    let mut ticks = tokio::time::interval(EVENT_INTERVAL);
    let mut n = 0;
    while on.load(Ordering::Relaxed) {
        ticks.tick().await;
        let which = n % rows.len();
        append(&db, &mut rows[which], me, build_line(n, format!("line {n}"))).await;
        db.notify_events(std::slice::from_ref(&rows[which].id)).await.unwrap();
        n += 1;
    }
    n
}

async fn ask(url: String, interval: Duration, on: Arc<AtomicBool>) -> Answers {
    let kept = reqwest::Client::new();
    let fresh = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let mut ticks = tokio::time::interval(interval);
    let mut answers = Answers::default();
    while on.load(Ordering::Relaxed) {
        ticks.tick().await;
        for (client, which) in [(&kept, "on a kept connection"), (&fresh, "on a new connection")] {
            answers.count(client.get(&url), which).await;
        }
    }
    answers
}

/// Creates deployments of repositories that do not exist: each runs the steps before the clone, which leave traces in AWS, and fails.
async fn deploy(db: Db, aws: String, balancer: SocketAddr, on: Arc<AtomicBool>) -> Answers {
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let mut ticks = tokio::time::interval(DEPLOY_INTERVAL);
    let mut answers = Answers::default();
    for n in 0.. {
        ticks.tick().await;
        if !on.load(Ordering::Relaxed) {
            break;
        }
        let github = GithubConnection {
            id: ids::github_connection_id(),
            owner: DEPLOYED.into(),
            repo: format!("absent-{n}"),
            branch: "main".into(),
            token: SecretString::from("t"),
            build_secrets: std::collections::BTreeMap::new(),
        };
        db.insert_github_connection(&github).await.unwrap();
        let body = json!({
            "githubConnectionId": github.id, "awsConnectionId": aws, "owner": github.owner, "repo": github.repo, "branch": github.branch,
        });
        answers.count(http.post(format!("http://{balancer}/api/v1/deploy")).json(&body), "to deploy").await;
    }
    answers
}

impl Answers {
    async fn count(&mut self, request: reqwest::RequestBuilder, which: &str) {
        match request.send().await {
            Ok(answer) if answer.status() == 200 => self.well += 1,
            other => {
                eprintln!("a request {which}: {other:?}");
                self.badly += 1;
            }
        }
    }
}
