//! All SQL of the program, checked at compile time. May use `domain` and no other room.

pub mod archive;
pub mod audit;
pub mod build_secrets;
pub mod commit;
pub mod connections;
pub mod create;
pub mod deployments;
pub mod events;
pub mod feed;
pub mod health;
pub mod idempotency;
pub mod installation;
pub mod locks;
pub mod log_filter;
pub mod maintenance;
pub mod notify;
pub mod overdue;
pub mod ownership;
mod pool;
pub mod removal;
pub mod reports;
pub mod schedules;
pub mod schema;
pub mod sealed;
pub mod sessions;
pub mod tokens;
pub mod turns;
pub mod wishes;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use pool::{Pool, STATEMENT_LIMIT};

use crate::domain::keyring::{KeyError, Keyring};
use crate::domain::schema::TooNew;

/// What can go wrong with the database, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection, it broke, or the database cannot do it now: the statement may or may not have happened. Try again later.
    #[error("{words}: {0}", words = health::words(.0))]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The database holds something that this version cannot read.
    #[error("the database holds an unexpected value: {0}")]
    Corrupt(String),
    /// The database's address is not one.
    #[error("the database URL is not valid: use postgres://user:password@host:port/database")]
    Url,
    /// A secret cannot be sealed or opened.
    #[error("a stored secret cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The schema cannot be brought up to date.
    #[error("the schema cannot be migrated: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema is for newer programs.
    #[error(transparent)]
    TooNew(#[from] TooNew),
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
                // 08 connection, 25006 read-only (a failover), 25P03 idle for too long in a transaction, 53 out of resources, 55P03 and
                // 57014 took too long (by our own time limit), 57P shutdown, 58 system, 40 serialization: all pass.
                let code = refused.code().unwrap_or_default().into_owned();
                let passing = ["08", "25006", "25P03", "53", "55P03", "57014", "57P", "58", "40"];
                let passing = passing.iter().any(|class| code.starts_with(class));
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
    /// What seals and opens secrets; without it, connections can be neither stored nor used.
    pub keyring: Option<Arc<Keyring>>,
}

/// The database: cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: Pool,
    commits: Arc<commit::Group>,
    health: Arc<health::Health>,
    keyring: Option<Arc<Keyring>>,
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
            .options([("statement_timeout", STATEMENT_LIMIT), ("idle_in_transaction_session_timeout", "15s")]);
        let health = Arc::<health::Health>::default();
        let trust = Arc::clone(&health);
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .before_acquire(move |_, connection| {
                let trusted = trust.trusts(connection.age);
                Box::pin(async move { Ok(trusted) })
            })
            .connect_lazy_with(connect);
        let pool = Pool(pool);
        Ok(Self { commits: Arc::new(commit::Group::new(pool.clone())), pool, health, keyring: options.keyring.clone() })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(&self.pool).await?;
        Ok(())
    }
}
