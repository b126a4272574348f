//! All SQL of the program, checked at compile time. May use `domain` and no other room.

pub mod commit;
pub mod connections;
pub mod create;
pub mod deployments;
pub mod events;
pub mod feed;
pub mod idempotency;
pub mod locks;
pub mod notify;
pub mod overdue;
pub mod ownership;
pub mod turns;
pub mod wishes;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

/// What can go wrong with the database, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection, or it broke: the statement may or may not have happened. Try again later.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The database holds something that this version cannot read.
    #[error("the database holds an unexpected value: {0}")]
    Corrupt(String),
    /// The database's address is not one.
    #[error("the database URL is not valid: use postgres://user:password@host:port/database")]
    Url,
    /// The schema cannot be brought up to date.
    #[error("the schema cannot be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database refused the statement.
    #[error("the database refused a statement: {0}")]
    Refused(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(Arc::new(error))
    }
}

/// Shared, because one statement may be several callers' (`commit`).
impl From<Arc<sqlx::Error>> for DbError {
    fn from(error: Arc<sqlx::Error>) -> Self {
        use sqlx::Error as E;
        match &*error {
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
                Self::Unavailable(error)
            }
            E::Database(refused) => {
                // 08 connection, 25006 read-only (a failover), 53 out of resources, 57014 the time limit of statements,
                // 57P shutdown, 58 system, 40 serialization: all pass.
                let code = refused.code().unwrap_or_default().into_owned();
                let passing =
                    ["08", "25006", "53", "57014", "57P", "58", "40"].iter().any(|class| code.starts_with(class));
                if passing { Self::Unavailable(error) } else { Self::Refused(error) }
            }
            E::ColumnDecode { .. } | E::Decode(_) => Self::Corrupt(error.to_string()),
            _ => Self::Refused(error),
        }
    }
}

impl DbError {
    /// Whether waiting may help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// `postgres://…`; may hold a password.
    pub url: SecretString,
    /// Most connections in the pool.
    pub max_connections: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
}

/// The database: cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    commits: Arc<commit::Group>,
}

impl Db {
    /// A pool that connects when first used: a database that is away at start is no reason to die.
    ///
    /// # Errors
    /// [`DbError::Url`].
    pub fn new(options: &DbOptions) -> Result<Self, DbError> {
        let connect = PgConnectOptions::from_str(options.url.expose_secret())
            .map_err(|_| DbError::Url)?
            .application_name("panda")
            // A statement that hangs must not hold a lease past its end.
            .options([("statement_timeout", "15s"), ("idle_in_transaction_session_timeout", "15s")]);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(connect);
        Ok(Self { commits: Arc::new(commit::Group::new(pool.clone())), pool })
    }

    /// Brings the schema up to date. Safe with several replicas: the migrator takes an advisory lock.
    pub async fn migrate(&self) -> Result<(), DbError> {
        sqlx::migrate!().run(&self.pool).await?;
        Ok(())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Whether the schema is the one that this program was built for.
    pub async fn is_migrated(&self) -> Result<bool, DbError> {
        let latest = sqlx::migrate!().iter().map(|migration| migration.version).max().unwrap_or(0);
        let known = sqlx::query_scalar!("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS \"known!\"")
            .fetch_one(&self.pool)
            .await?;
        if !known {
            return Ok(false);
        }
        let applied =
            sqlx::query_scalar!("SELECT coalesce(max(version), 0) AS \"v!\" FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await?;
        Ok(applied >= latest)
    }
}
