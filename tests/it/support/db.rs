//! A fresh database for each test, on the server that `PANDA_TEST_DATABASE_URL` names.

use std::sync::Arc;
use std::time::Duration;

use panda::db::{Db, DbOptions};
use panda::domain::keyring::Keyring;
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use url::Url;

/// The keys of all tests.
pub const KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/test.keys");

/// What seals the secrets of tests.
#[expect(clippy::unnecessary_wraps, reason = "as the options take it")]
pub fn keyring() -> Option<Arc<Keyring>> {
    let text = SecretString::from(std::fs::read_to_string(KEY_FILE).unwrap());
    Some(Arc::new(Keyring::parse(&text, &|arn| panic!("{arn} is not asked for")).unwrap()))
}

/// A migrated database that is dropped with this.
pub struct TestDb {
    /// The program's own access.
    pub db: Db,
    url: Url,
    server: Url,
    name: String,
}

impl TestDb {
    /// Creates and migrates it.
    pub async fn new() -> Self {
        let server: Url = std::env::var("PANDA_TEST_DATABASE_URL")
            .or_else(|_| std::env::var("DATABASE_URL"))
            .expect(
                "PANDA_TEST_DATABASE_URL names the Postgres server for tests: use `make test` or `panda parts -- …`",
            )
            .parse()
            .unwrap();
        Self::on(server).await
    }

    /// Creates and migrates it on another server.
    pub async fn on(server: Url) -> Self {
        let name = format!("panda_test_{}", uuid::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
        // The name is our own hex digits.
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let test = Self::existing(server, name);
        test.db.migrate().await.unwrap();
        test
    }

    /// One that somebody else has made, as it is.
    pub fn existing(server: Url, name: String) -> Self {
        let mut url = server.clone();
        url.set_path(&name);
        let db = Db::new(&DbOptions {
            url: SecretString::from(url.to_string()),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(10),
            keyring: keyring(),
        })
        .unwrap();
        Self { db, url, server, name }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection for looking into the tables as an operator would.
    pub async fn psql(&self) -> PgConnection {
        PgConnection::connect(self.url.as_str()).await.unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread with a runtime of its own: the test's is ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
                // A connection of the test's own runtime, which waits for us, may be in the middle of signing in: the server waits for that. What
                // is not dropped ends with the server.
                admin.execute("SET statement_timeout = '1s'").await.unwrap();
                let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let _ = admin.execute(sqlx::AssertSqlSafe(sql)).await;
            });
        });
        let _ = dropping.join();
    }
}
