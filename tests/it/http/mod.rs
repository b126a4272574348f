//! The API over real sockets, on a database of the test's own. Path = URL = test.

mod api_docs;
pub mod auth;
mod client;
mod connect;
mod connections;
mod deploy;
mod door;
mod errors;
mod events;
mod healthz;
mod hostile;
mod idempotency;
mod log;
mod oidc;
mod oidc_keys;
pub mod outside;
pub mod reader;
mod readyz;
mod reports;
mod revocations;
mod schedules;
mod schemathesis;
mod server;
mod slow;
pub mod story;
mod tls;
mod unmigrated;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use panda::clients::aws::{Aws, AwsSettings};
use panda::clients::github::GitHub;
use panda::config::{AuthConfig, HttpConfig, RetentionConfig};
use panda::db::{Class, Db, DbOptions};
use panda::domain::connection::AwsKeys;
use panda::domain::names::Names;
use panda::http::caller_limit::CallerLimit;
use panda::http::{ApiState, Auth, AuthOptions, Hub, LogControl, Seats, Tls, limits, router, serve};
use panda::metrics::AwsCalls;
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::db::TestDb;
pub use reader::Reader;
pub use story::Story;

/// Nobody listens here: the port is reserved, and never bound.
pub const NOBODY: &str = "http://127.0.0.1:1";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    http: HttpConfig,
    #[command(flatten)]
    auth: AuthConfig,
    #[command(flatten)]
    retention: RetentionConfig,
}

/// Where the API finds the outside.
pub struct Outside {
    pub github_api: String,
    pub aws_endpoint: String,
    /// The controller's own keys.
    pub controller: AwsKeys,
}

impl Default for Outside {
    fn default() -> Self {
        let controller = AwsKeys {
            access_key_id: "AKIATESTCONTROLLER00".to_owned(),
            secret_access_key: SecretString::from("not-a-secret"),
            session_token: None,
        };
        Self { github_api: NOBODY.to_owned(), aws_endpoint: NOBODY.to_owned(), controller }
    }
}

/// A served API.
pub struct Api {
    pub hub: Hub,
    seats: Seats,
    pub shutdown: CancellationToken,
    pub address: SocketAddr,
    pub client: Client,
    pub serving: JoinHandle<std::io::Result<()>>,
}

impl Api {
    /// Serves `db` with the default settings.
    pub async fn serve(db: &Db) -> Self {
        Self::serve_with(db, &Outside::default(), &[]).await
    }

    /// Serves `db` with flags and a chosen outside.
    pub async fn serve_with(db: &Db, outside: &Outside, flags: &[&str]) -> Self {
        let shutdown = CancellationToken::new();
        let Cli { http: config, auth, retention } = Cli::try_parse_from(["panda"].iter().chain(flags)).unwrap();
        let oidc = auth.oidc_file.clone().map(|path| {
            let issuers = panda::domain::claims::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
            panda::http::oidc::Verifier::new(issuers).unwrap()
        });
        let admin = auth
            .admin_token_file
            .as_ref()
            .map(|path| panda::domain::token::SecretHash::of(std::fs::read_to_string(path).unwrap().trim()));
        let options = AuthOptions { admin, session: auth.session, another_approves: auth.another_approves, oidc };
        let auth = match (auth.is_required(config.listen, false), auth.is_off()) {
            (true, _) => Auth::required(db.clone(), options, &shutdown),
            (false, true) => Auth::off(),
            (false, false) => Auth::local(),
        };
        let metrics = panda::metrics::Metrics::default();
        let hub = Hub::start(db.of(Class::Live), metrics.clone(), &shutdown);
        let timeout = Duration::from_secs(10);
        let (limits, seats) = limits(&config, 10_000);
        let tls = config.tls().map(|files| Tls::load(files).unwrap());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor().unwrap());
        if let Some(tls) = tls {
            tokio::spawn(tls.watch(shutdown.clone()));
        }
        let state = ApiState {
            db: db.clone(),
            auth,
            hub: hub.clone(),
            github: Arc::new(GitHub::new(outside.github_api.parse().unwrap(), timeout).unwrap()),
            aws: aws(outside, &config.controller_roles).await,
            names: Arc::new(Names::default()),
            first_step: "ensure_event_rule",
            retry_step: "resume",
            metrics,
            config: Arc::new(config),
            retention: Arc::new(retention.rules()),
            maintenance: Arc::default(),
            reports: CallerLimit::new(1),
            log: LogControl { own: "info", asked: Arc::default() },
            seats: seats.clone(),
            shutdown: shutdown.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, router(state), limits, acceptor, shutdown.clone()));
        Self { hub, seats, shutdown, address, client: Client::new(), serving }
    }

    /// Event streams that are open.
    pub fn open_streams(&self) -> usize {
        self.seats.taken()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).json(body).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    /// Opens an event stream.
    pub async fn follow(&self, id: &str, more: &str) -> Reader {
        Reader::open(self.request(Method::GET, &format!("/api/v1/deploy/{id}/events{more}"))).await
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// AWS as an API with these roles of the controller reaches it.
pub async fn aws(outside: &Outside, controller_roles: &[String]) -> Aws {
    Aws::new(AwsSettings {
        endpoint_url: Some(outside.aws_endpoint.parse().unwrap()),
        codedeploy_endpoint_url: None,
        controller_region: Some("ap-northeast-2".to_owned()),
        controller_credentials: Some(outside.controller.clone()),
        operation_timeout: Duration::from_secs(10),
        controller_roles: controller_roles.to_vec(),
        calls: AwsCalls::default(),
    })
    .await
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The envelope's data; fails unless it is a success with `message`.
    pub fn data(&self, message: &str) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let body = self.json();
        assert_eq!((body["code"].as_i64(), body["message"].as_str()), (Some(200), Some(message)));
        assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
        body["data"].clone()
    }

    /// The problem, complete and with `status` and `code`.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["errorCode"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["message"], body["detail"]);
        assert!(body["type"].as_str().unwrap().starts_with("urn:panda:problem:"));
        assert!(body["instance"].as_str().unwrap().starts_with('/'));
        assert!(!body["title"].as_str().unwrap().is_empty() && !body["error"].as_str().unwrap().is_empty());
        chrono::DateTime::parse_from_rfc3339(body["timestamp"].as_str().unwrap()).unwrap();
        body
    }

    /// The field that a 400 names.
    pub fn refused_field(&self, code: &str) -> String {
        self.problem(400, code)["field"].as_str().unwrap_or_else(|| panic!("no field in {}", self.text)).to_owned()
    }
}

/// A database that nobody serves.
pub fn absent_db() -> Db {
    Db::new(&DbOptions {
        url: SecretString::from("postgres://nobody@127.0.0.1:1/nothing").into(),
        access: panda::db::connect::Access::default(),
        max_connections: 3,
        acquire_timeout: Duration::from_millis(200),
        keyring: crate::support::db::keyring(),
    })
    .unwrap()
}

/// Number of rows of a table.
pub async fn count(db: &TestDb, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut db.psql().await).await.unwrap()
}
