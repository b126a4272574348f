//! The API over real sockets, on a separate database per test. Path = URL = test.

mod api_docs;
pub mod auth;
mod connect;
mod connections;
mod deploy;
mod errors;
mod events;
pub mod external_services;
pub mod fixture;
mod healthz;
mod hostile_input;
mod idempotency;
mod log;
mod middleware;
mod oidc;
mod oidc_keys;
mod pending_migrations;
mod readyz;
mod real_ip;
mod reports;
mod revocations;
mod schedules;
mod schemathesis;
mod server;
mod slow_readers;
mod tls;

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
use panda::http::middleware::caller_limit::CallerLimit;
use panda::http::{ApiState, Auth, AuthOptions, Hub, LogControl, StreamPermits, Tls, limits, router, serve};
use panda::metrics::AwsCalls;
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::db::TestDb;
pub use crate::support::sse_reader::Reader;
pub use fixture::Fixture;

/// An address without a listener: the port is reserved and never bound.
pub const UNREACHABLE: &str = "http://127.0.0.1:1";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    http: HttpConfig,
    #[command(flatten)]
    auth: AuthConfig,
    #[command(flatten)]
    retention: RetentionConfig,
}

/// Addresses of the external services that the API calls.
pub struct ExternalServices {
    pub github_api: String,
    pub aws_endpoint: String,
    /// The controller's own keys.
    pub controller: AwsKeys,
}

impl Default for ExternalServices {
    fn default() -> Self {
        let controller = AwsKeys {
            access_key_id: "AKIATESTCONTROLLER00".to_owned(),
            secret_access_key: SecretString::from("not-a-secret"),
            session_token: None,
        };
        Self { github_api: UNREACHABLE.to_owned(), aws_endpoint: UNREACHABLE.to_owned(), controller }
    }
}

/// The API as served in this process.
pub struct Api {
    pub hub: Hub,
    stream_permits: StreamPermits,
    pub shutdown: CancellationToken,
    pub address: SocketAddr,
    pub client: Client,
    pub serving: JoinHandle<std::io::Result<()>>,
}

impl Api {
    /// Serves `db` with the default settings.
    pub async fn serve(db: &Db) -> Self {
        Self::serve_with(db, &ExternalServices::default(), &[]).await
    }

    /// Serves `db` with flags and chosen external services.
    pub async fn serve_with(db: &Db, external: &ExternalServices, flags: &[&str]) -> Self {
        let shutdown = CancellationToken::new();
        let Cli { http: config, auth, retention } = Cli::try_parse_from(["panda"].iter().chain(flags)).unwrap();
        let oidc = auth.oidc_file.clone().map(|path| {
            let issuers = panda::domain::oidc_claims::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
            panda::http::auth::oidc::Verifier::new(issuers).unwrap()
        });
        let admin = auth
            .admin_token_file
            .as_ref()
            .map(|path| panda::domain::token::SecretHash::of(std::fs::read_to_string(path).unwrap().trim()));
        let options = AuthOptions { admin, session: auth.session, four_eyes: auth.four_eyes, oidc };
        let auth = match (auth.is_required(config.listen, false), auth.is_off()) {
            (true, _) => Auth::required(db.clone(), options, &shutdown),
            (false, true) => Auth::off(),
            (false, false) => Auth::local(),
        };
        let metrics = panda::metrics::Metrics::default();
        let hub = Hub::start(db.of(Class::Live), metrics.clone(), &shutdown);
        let timeout = Duration::from_secs(10);
        let (limits, stream_permits) = limits(&config, 10_000);
        let tls = config.tls().map(|files| Tls::load(files).unwrap());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor().unwrap());
        if let Some(tls) = tls {
            tokio::spawn(tls.watch(shutdown.clone()));
        }
        let state = ApiState {
            db: db.clone(),
            auth,
            hub: hub.clone(),
            github: Arc::new(GitHub::new(external.github_api.parse().unwrap(), timeout).unwrap()),
            aws: aws(external, &config.controller_roles).await,
            names: Arc::new(Names::default()),
            first_step: "ensure_event_rule",
            retry_step: "resume",
            metrics,
            config: Arc::new(config),
            retention: Arc::new(retention.rules()),
            maintenance: Arc::default(),
            reports: CallerLimit::new(1),
            replays: CallerLimit::new(1),
            log: LogControl { own: "info", changed: Arc::default() },
            stream_permits: stream_permits.clone(),
            shutdown: shutdown.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, router(state), limits, acceptor, shutdown.clone()));
        Self { hub, stream_permits, shutdown, address, client: Client::new(), serving }
    }

    /// Number of open event streams.
    pub fn open_streams(&self) -> usize {
        self.stream_permits.in_use()
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

/// The AWS client of an API that allows these roles of the controller's account.
pub async fn aws(external: &ExternalServices, controller_roles: &[String]) -> Aws {
    Aws::new(AwsSettings {
        endpoint_url: Some(external.aws_endpoint.parse().unwrap()),
        codedeploy_endpoint_url: None,
        controller_region: Some("ap-northeast-2".to_owned()),
        controller_credentials: Some(external.controller.clone()),
        operation_timeout: Duration::from_secs(10),
        controller_roles: controller_roles.to_vec(),
        calls: AwsCalls::default(),
    })
    .await
}

/// A response with its body read.
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

    /// The envelope's data; fails unless the answer is a success with `message`.
    pub fn data(&self, message: &str) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let body = self.json();
        assert_eq!((body["code"].as_i64(), body["message"].as_str()), (Some(200), Some(message)));
        assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
        body["data"].clone()
    }

    /// The problem; fails unless it is complete and has `status` and `code`.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["errorCode"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["message"], body["detail"]);
        let documentation = "https://github.com/panda-deploy/panda/blob/main/docs/errors.md#";
        assert_eq!(body["type"], format!("{documentation}{}", code.to_lowercase()));
        assert!(body["instance"].as_str().unwrap().starts_with('/'));
        assert!(!body["title"].as_str().unwrap().is_empty() && !body["error"].as_str().unwrap().is_empty());
        chrono::DateTime::parse_from_rfc3339(body["timestamp"].as_str().unwrap()).unwrap();
        body
    }

    /// The field named by a 400.
    pub fn refused_field(&self, code: &str) -> String {
        self.problem(400, code)["field"].as_str().unwrap_or_else(|| panic!("no field in {}", self.text)).to_owned()
    }
}

/// A database without a server.
pub fn unreachable_db() -> Db {
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
