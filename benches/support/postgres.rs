//! A Postgres server of the bench's own, durable: fsync and synchronous commits are on, as in production.

use panda::db::{Db, DbOptions};
use panda::sandbox::parts::{Postgres, PostgresOptions, temporary_folder};
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use super::process::cpu_of;

/// Connections that a bench's own pool has: `panda serve`'s default.
const CONNECTIONS: u32 = 16;

/// The server; dropping it ends it and removes its folder.
pub struct Server {
    postgres: Postgres,
    postmaster: u32,
    _dir: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let dir = temporary_folder().unwrap();
        let options = PostgresOptions { data_dir: dir.path().join("postgres"), durable: true };
        let postgres = Postgres::start(options).await.unwrap();
        let mut connection = PgConnection::connect(postgres.url().expose_secret()).await.unwrap();
        let settings: (String, String) =
            sqlx::query_as("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert_eq!(settings, ("on".into(), "on".into()), "the figures are those of a durable database");
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        let postmaster = cpu_of(backend.unsigned_abs()).unwrap().parent;
        Self { postgres, postmaster, _dir: dir }
    }

    /// A new, empty database.
    pub async fn empty_database(&self) -> Url {
        let name = format!("panda_bench_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(self.postgres.url().expose_secret()).await.unwrap();
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        self.postgres.url_of(&name).expose_secret().parse().unwrap()
    }

    /// A new database with Panda's schema.
    pub async fn database(&self) -> Database {
        let url = self.empty_database().await;
        let options = DbOptions {
            url: SecretString::from(url.to_string()).into(),
            access: panda::db::connect::Access::default(),
            max_connections: CONNECTIONS,
            acquire_timeout: std::time::Duration::from_mins(1),
            keyring: Some(std::sync::Arc::new(keyring())),
        };
        let db = Db::new(&options).unwrap();
        db.migrate().await.unwrap();
        Database { db, url }
    }

    /// Processor time of the whole server so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let mut total = cpu_of(self.postmaster).map_or(0.0, |cpu| cpu.own + cpu.ended_children);
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let child = pid.and_then(cpu_of).filter(|cpu| cpu.parent == self.postmaster);
            total += child.map_or(0.0, |cpu| cpu.own);
        }
        total
    }
}

/// A database with Panda's schema.
pub struct Database {
    pub db: Db,
    pub url: Url,
}

impl Database {
    /// A connection for looking on.
    pub async fn look(&self) -> PgConnection {
        PgConnection::connect(self.url.as_str()).await.unwrap()
    }

    /// As autovacuum leaves it in time: what filled the tables is not what is measured.
    pub async fn settle(&self) {
        let mut connection = self.look().await;
        connection.execute("VACUUM ANALYZE").await.unwrap();
        connection.execute("CHECKPOINT").await.unwrap();
    }
}

/// Until whatever was done before is in Postgres's statistics: a backend at rest reports after ten seconds.
pub async fn statistics_arrived() {
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
}

/// Transactions that ended in this database so far; a statement outside a transaction block is one.
pub async fn transactions(look: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(look)
        .await
        .unwrap()
}

/// What became of the rows of `deployments` so far.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct RowStats {
    pub updates: i64,
    pub hot_updates: i64,
    pub dead: i64,
    pub live: i64,
}

pub async fn row_stats(look: &mut PgConnection) -> RowStats {
    sqlx::query_as(
        "SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot_updates, n_dead_tup AS dead, n_live_tup AS live
         FROM pg_stat_user_tables WHERE relname = 'deployments'",
    )
    .fetch_one(look)
    .await
    .unwrap()
}

/// What seals the secrets of benches.
fn keyring() -> panda::domain::keyring::Keyring {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/test.keys");
    let text = secrecy::SecretString::from(std::fs::read_to_string(file).unwrap());
    panda::domain::keyring::Keyring::parse(&text, &|arn| panic!("{arn} is not asked for")).unwrap()
}
