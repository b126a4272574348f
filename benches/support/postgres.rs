//! A dedicated, durable Postgres server: fsync and synchronous commits are on, as in production.

use panda::db::{Db, DbOptions};
use panda::domain::keyring::Keyring;
use panda_dev_services::{Postgres, PostgresOptions, temporary_folder};
use panda_testing::KEY_FILE;
use panda_testing::postgres::standby::copy;
use panda_testing::process::usage::cpu_of;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// Connections of a bench's own pool: `panda serve`'s default.
const CONNECTIONS: u32 = 16;

/// The server; dropping it ends it and removes its folder.
pub struct Server {
    postgres: Postgres,
    postmaster: u32,
    dir: TempDir,
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
        Self { postgres, postmaster, dir }
    }

    /// Creates a new, empty database.
    pub async fn empty_database(&self) -> Url {
        let name = format!("panda_bench_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(self.postgres.url().expose_secret()).await.unwrap();
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        self.postgres.url_of(&name).expose_secret().parse().unwrap()
    }

    /// Creates a new database with Panda's schema.
    pub async fn database(&self) -> Database {
        let url = self.empty_database().await;
        let db = open(url.as_str());
        db.migrate().await.unwrap();
        db.store_step_stages(&panda::steps::Step::stages()).await.unwrap();
        Database { db, url }
    }

    /// Starts a streaming standby of this server, without which no commit returns.
    pub async fn standby(&self) -> Standby {
        let dir = temporary_folder().unwrap();
        let (own, copied) = (self.dir.path().join("postgres"), dir.path().join("postgres"));
        let url: Url = self.postgres.url().expose_secret().parse().unwrap();
        copy(&url, &own, &copied).await;
        let postgres = Postgres::start(PostgresOptions { data_dir: copied, durable: true }).await.unwrap();
        let mut admin = PgConnection::connect(url.as_str()).await.unwrap();
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
        admin.execute("SELECT pg_reload_conf()").await.unwrap();
        Standby { postgres, _dir: dir }
    }

    /// Ends the server as a crash does.
    pub fn crash(&self) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.postmaster.cast_signed()),
            nix::sys::signal::Signal::SIGQUIT,
        )
        .unwrap();
    }

    /// Returns the processor time of the whole server so far, in seconds.
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

/// A standby; dropping it ends it and removes its folder.
pub struct Standby {
    postgres: Postgres,
    _dir: TempDir,
}

impl Standby {
    /// An address of both servers: of the one that takes writes.
    pub fn either(&self, database: &Database) -> String {
        let primary = format!("127.0.0.1:{}", database.url.port().unwrap());
        database.url.as_str().replace(&primary, &format!("{primary},127.0.0.1:{}", self.postgres.port()))
    }

    /// Makes it the primary.
    pub async fn promote(&self) {
        let mut admin = PgConnection::connect(self.postgres.url().expose_secret()).await.unwrap();
        // The setting copied from the primary would make commits wait for a standby.
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = ''").await.unwrap();
        admin.execute("SELECT pg_reload_conf()").await.unwrap();
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, 60)").fetch_one(&mut admin).await.unwrap();
        assert!(promoted);
    }

    /// A connection to the promoted server's `database`.
    pub async fn look(&self, database: &Database) -> PgConnection {
        let mut url = database.url.clone();
        url.set_port(Some(self.postgres.port())).unwrap();
        PgConnection::connect(url.as_str()).await.unwrap()
    }
}

/// Opens the database at `url`, which may name several servers.
pub fn open(url: &str) -> Db {
    let options = DbOptions {
        url: SecretString::from(url).into(),
        access: panda::db::connect::Access::default(),
        max_connections: CONNECTIONS,
        acquire_timeout: std::time::Duration::from_mins(1),
        keyring: Some(std::sync::Arc::new(keyring())),
    };
    Db::new(&options).unwrap()
}

/// A database with Panda's schema.
pub struct Database {
    pub db: Db,
    pub url: Url,
}

impl Database {
    /// Opens a connection for observing the database.
    pub async fn look(&self) -> PgConnection {
        PgConnection::connect(self.url.as_str()).await.unwrap()
    }

    /// Vacuums as autovacuum would in time, because the filling of the tables is not measured.
    pub async fn settle(&self) {
        let mut connection = self.look().await;
        connection.execute("VACUUM ANALYZE").await.unwrap();
        connection.execute("CHECKPOINT").await.unwrap();
    }
}

/// Waits until all earlier work is in Postgres's statistics: an idle backend reports after ten seconds.
pub async fn statistics_arrived() {
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
}

/// Counts the transactions that ended in this database so far; a statement outside a transaction block is one.
pub async fn transactions(look: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(look)
        .await
        .unwrap()
}

/// Update statistics of the rows of `deployments` so far.
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

/// Keys that encrypt the secrets of benches.
pub fn keyring() -> Keyring {
    let text = SecretString::from(std::fs::read_to_string(KEY_FILE).unwrap());
    Keyring::parse(&text, &|arn| panic!("{arn} is not asked for")).unwrap()
}
