//! A running Panda: the one builder for all forms that a test needs.
//!
//! ```text
//! Panda::builder().database(&db.db).auth().api()             the API in this process, without a reconciler
//! Panda::builder().environment(&env).replica()               a reconciler in this process, without the API
//! Panda::builder().environment(&env).server()                both in this process, as `panda serve` runs them
//! Panda::builder().environment(&env).flags(&[…]).process()   `panda serve` in a separate process, for signals and kills
//! Panda::builder().on(&db).process()                         the same on a database alone
//! ```

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use panda::app::RunningServer;
use panda::db::Db;
use panda_testing::Program;
use panda_testing::serve::ServeBuilder;
use url::Url;

use super::api::{Api, ExternalServices};
use super::api_client::ApiClient;
use super::db::{TestDb, open};
use super::environment::{Environment, InProcess as _};
use super::replica::Replica;

/// The program under test.
pub struct Panda;

impl Program for Panda {
    const RENEWAL: &'static str = "UPDATE installation SET cache_secret = DEFAULT, external_id_secret = DEFAULT";

    type Db = Db;

    fn path() -> PathBuf {
        Path::new(env!("CARGO_BIN_EXE_panda")).to_owned()
    }

    fn open(url: &Url) -> Db {
        open(url, 10, Duration::from_secs(10))
    }

    async fn migrate(db: &Db) {
        db.migrate().await.unwrap();
        db.store_step_stages(&panda::steps::Step::stages()).await.unwrap();
    }

    async fn app_role_script(db: &Db, role: &str) -> String {
        db.app_role_script(&role.parse().unwrap()).await.unwrap()
    }
}

impl Panda {
    pub fn builder() -> PandaBuilder<'static> {
        PandaBuilder { db: None, url: None, env: None, external: ExternalServices::default(), flags: Vec::new() }
    }
}

/// A Panda to be started.
pub struct PandaBuilder<'a> {
    db: Option<&'a Db>,
    url: Option<&'a str>,
    env: Option<&'a Environment>,
    external: ExternalServices,
    flags: Vec<String>,
}

impl<'a> PandaBuilder<'a> {
    /// Access to the database of an API in this process.
    pub fn database<'b>(self, db: &'b Db) -> PandaBuilder<'b>
    where
        'a: 'b,
    {
        PandaBuilder { db: Some(db), ..self }
    }

    /// The database of a separate process without other services, or of an API in this one.
    pub fn on<'b>(self, db: &'b TestDb) -> PandaBuilder<'b>
    where
        'a: 'b,
    {
        PandaBuilder { db: Some(&db.db), url: Some(db.url()), ..self }
    }

    /// The services of `env`, its database included, with short intervals.
    pub fn environment<'b>(self, env: &'b Environment) -> PandaBuilder<'b>
    where
        'a: 'b,
    {
        PandaBuilder { db: Some(&env.db.db), env: Some(env), ..self }
    }

    /// GitHub and AWS of an API in this process.
    pub fn external(self, external: &ExternalServices) -> Self {
        Self { external: external.clone(), ..self }
    }

    /// Options of `panda serve`.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Requires authentication.
    pub fn auth(self) -> Self {
        self.flags(&["--auth=required"])
    }

    /// The API in this process, without a reconciler.
    pub async fn api(self) -> Api {
        // The state of the API is large, and each test would hold it on its stack.
        Box::pin(Api::start(self.db.expect("a database"), &self.external, &self.flags)).await
    }

    /// A reconciler in this process, without the API.
    pub fn replica(self) -> Replica {
        Replica::of(self.env(), &self.borrowed())
    }

    /// API and reconciler in this process.
    pub async fn server(self) -> Server {
        let env = self.env();
        let running = panda::app::start(env.config(&self.borrowed()), Some(env.controller())).await.unwrap();
        let api_client = ApiClient::of(format!("http://{}", running.address()));
        Server { running, api_client }
    }

    /// `panda serve`, to be started in a separate process.
    pub fn process(self) -> ServeBuilder {
        let serve = ServeBuilder::of(&Panda::path());
        let serve = match (self.env, self.url) {
            (Some(env), _) => serve.environment(env),
            (None, url) => serve.database(url.expect("a database")),
        };
        serve.flags(&self.flags)
    }

    fn env(&self) -> &'a Environment {
        self.env.expect("an environment")
    }

    fn borrowed(&self) -> Vec<&str> {
        self.flags.iter().map(String::as_str).collect()
    }
}

/// API and reconciler in this process, and a client of the API.
pub struct Server {
    running: RunningServer,
    api_client: ApiClient,
}

impl Server {
    /// Stops it as SIGTERM does.
    pub async fn stop(self) {
        self.running.stop().await;
    }
}

impl Deref for Server {
    type Target = ApiClient;

    fn deref(&self) -> &ApiClient {
        &self.api_client
    }
}
