//! All SQL of the program, checked at compile time. May use `domain` and `bounded`, and no other module of Panda.
//!
//! Functions over a connection are the statements of a command's transaction, which `commands` begins; methods of [`Db`] have a separate transaction
//! or need none.

pub mod api_budgets;
pub mod archive;
pub mod audit;
pub mod build_secrets;
pub mod caller_share;
pub mod commit;
pub mod connect;
pub mod connections;
pub mod deployments;
pub mod encryption;
pub mod events;
pub mod feed;
pub mod fitness;
pub mod freezes;
pub mod gates;
pub mod github_apps;
pub mod health;
pub mod history_pieces;
pub mod idempotency;
pub mod installation;
pub mod key_check;
pub mod locks;
pub mod log_filter;
pub mod maintenance;
pub mod notify;
pub mod outbox;
pub mod ownership;
pub mod policies;
mod pool;
pub mod push_hooks;
pub mod queue;
pub mod receivers;
pub mod reports;
pub mod revocations;
pub mod schedules;
pub mod schema;
pub mod sessions;
pub mod shared_state;
pub mod status_events;
pub mod step_stages;
pub mod tokens;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::types::Json;

use connect::{Access, Cause, Connector, SessionLimits};
use pool::Pool;
pub use pool::{Busy, Transaction};
pub use sqlx::PgConnection;

use crate::domain::Facts;
pub use crate::domain::connection_class::{Class, Usage};
use crate::domain::database::AddressSource;
use crate::domain::keyring::{KeyError, Keyring};
use crate::domain::message::Message;
use crate::domain::schema::{Predecessor, TooNew};

/// Database errors, divided by what a caller can do about them.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection, a broken one, or a database that cannot run the statement now. The statement may or may not have been executed; retry later.
    #[error("{}", health::description(.0))]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Other work of the same class, or of the same caller, occupies all of its connections. Retry later, with less concurrency.
    #[error(transparent)]
    Busy(Busy),
    /// The database holds a value that this version cannot read.
    #[error("the database holds an unexpected value: {0}")]
    Corrupt(String),
    /// The database cannot be used through its present address, server or pooler.
    #[error(transparent)]
    Unusable(Cause),
    /// A secret cannot be encrypted or decrypted.
    #[error("a stored secret cannot be used: {0}")]
    Key(#[from] KeyError),
    /// A migration failed; nothing of it was applied.
    #[error("the schema cannot be migrated: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema requires a newer program.
    #[error(transparent)]
    TooNew(#[from] TooNew),
    /// The schema is from before the first release.
    #[error(transparent)]
    Predecessor(#[from] Predecessor),
    /// The database does not meet Panda's requirements.
    #[error(transparent)]
    Unfit(#[from] fitness::Unfit),
    /// The server has not migrated the database to its schema yet.
    #[error("{0}")]
    SchemaPending(Message),
    /// LISTEN does not work on the way to this database.
    #[error(
        "LISTEN does not work through this connection pooler: set --database-direct-url to an address of Postgres itself"
    )]
    NotificationsUnavailable,
    /// The database refused the statement, and would refuse it again.
    #[error("the database refused a statement: {0}")]
    Refused(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        Self::from(Arc::new(error))
    }
}

/// Takes a shared error, because one statement may serve several callers (see `commit`).
impl From<Arc<sqlx::Error>> for DbError {
    fn from(error: Arc<sqlx::Error>) -> Self {
        use sqlx::Error as E;
        if let E::Io(io) = &*error
            && let Some(busy) = io.get_ref().and_then(|inner| inner.downcast_ref::<Busy>())
        {
            return Self::Busy(*busy);
        }
        match &*error {
            E::Configuration(_) => match connect::carried(&error) {
                Some(cause) if cause.is_lasting() => Self::Unusable(cause.clone()),
                Some(_) => Self::Unavailable(error),
                None => Self::Refused(error),
            },
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
                Self::Unavailable(error)
            }
            E::Database(refused) => {
                // Transient classes: 08 connection, 25006 read-only (a failover), 25P03 idle for too long in a transaction, 53 out of resources,
                // 55P03 and 57014 took too long (by our own time limit), 57P shutdown, 58 system, 40 serialization. A schema that is not migrated yet
                // and privileges that are not granted yet are transient too: the operator still has a step to do.
                let code = refused.code().unwrap_or_default().into_owned();
                let transient = ["08", "25006", "25P03", "53", "55P03", "57014", "57P", "58", "40"];
                let transient = transient.iter().any(|class| code.starts_with(class));
                if transient || health::is_not_set_up(&code) { Self::Unavailable(error) } else { Self::Refused(error) }
            }
            E::ColumnDecode { .. } | E::Decode(_) => Self::Corrupt(error.to_string()),
            _ => Self::Refused(error),
        }
    }
}

impl DbError {
    /// A stored value that this version cannot read, for the reason.
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt(reason.into())
    }

    /// Describes the error for operators and clients, without details that only help a programmer.
    pub fn message(&self) -> Message {
        match self {
            Self::Unavailable(error) => health::outage_text(error),
            Self::SchemaPending(reason) => reason.clone(),
            Self::Unusable(cause) => cause.message(),
            Self::Busy(busy) => busy.message(),
            Self::Predecessor(predecessor) => predecessor.message(),
            other => Message::verbatim(other.to_string()),
        }
    }

    /// Reports that waiting cannot make Panda run on this database. A role that may not migrate waits for a role that may.
    pub fn is_final(&self) -> bool {
        match self {
            Self::TooNew(_) | Self::Predecessor(_) | Self::Unusable(_) => true,
            Self::Unfit(unfit) => !matches!(unfit, fitness::Unfit::NotOwner { .. }),
            _ => false,
        }
    }

    /// Reports that the server or the configuration refuses connections: waiting helps only if an operator changes something meanwhile.
    pub fn is_refused_connection(&self) -> bool {
        matches!(self, Self::Unavailable(error) if connect::carried(error).is_some_and(Cause::is_refusal))
    }

    /// The same error for another caller that waits for the same statement. A rare kind is reduced to its text.
    #[must_use]
    pub fn shared(&self) -> Self {
        match self {
            Self::Unavailable(error) => Self::Unavailable(Arc::clone(error)),
            Self::Refused(error) => Self::Refused(Arc::clone(error)),
            Self::Busy(busy) => Self::Busy(*busy),
            Self::Unusable(cause) => Self::Unusable(cause.clone()),
            Self::SchemaPending(reason) => Self::SchemaPending(reason.clone()),
            other => Self::Corrupt(other.to_string()),
        }
    }

    /// Reports that the statement exceeded its time limit.
    pub fn is_time_limit(&self) -> bool {
        // `query_canceled`, also at the end of the time limit.
        const CANCELLED: &str = "57014";
        let Self::Unavailable(error) = self else { return false };
        error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == CANCELLED)
    }

    /// Reports that a retry may succeed.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::SchemaPending(_) | Self::Busy(_) | Self::Unusable(_))
    }
}

/// Options for reaching the database.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// Connection URL, or the file that contains it.
    pub url: AddressSource,
    /// Direct address, password tokens and self-test.
    pub access: Access,
    /// Maximum number of connections over all classes.
    pub max_connections: u32,
    /// Maximum time that a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// Encrypts and decrypts secrets; without it, connections can be neither stored nor used.
    pub keyring: Option<Arc<Keyring>>,
}

/// Handle to the database for one class of work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    /// Pool of this handle's class.
    pool: Pool,
    pools: Arc<[Pool; Class::ALL.len()]>,
    connector: Connector,
    commits: Arc<commit::GroupCommit>,
    health: Arc<health::DbHealth>,
    privileges: Arc<fitness::PrivilegeCache>,
    keyring: Option<Arc<Keyring>>,
    request_key: Arc<tokio::sync::OnceCell<aws_lc_rs::hmac::Key>>,
}

impl Db {
    /// Opens a handle for [`Class::Api`]. The pools connect on first use, so that a database that is unreachable at start does not end the process.
    ///
    /// # Errors
    /// [`DbError::Unusable`] when an address is not valid.
    pub fn new(options: &DbOptions) -> Result<Self, DbError> {
        let connector = Connector::new(&options.url, &options.access).map_err(DbError::Unusable)?;
        let health = Arc::<health::DbHealth>::default();
        let pools = Arc::new(Class::ALL.map(|class| open_pool(class, options, &connector, &health)));
        Ok(Self {
            commits: Arc::new(commit::GroupCommit::new(of_class(&pools, Class::Reconcile).clone())),
            pool: of_class(&pools, Class::Api).clone(),
            pools,
            connector,
            health,
            privileges: Arc::default(),
            keyring: options.keyring.clone(),
            request_key: Arc::default(),
        })
    }

    /// Returns a handle to the same database that uses the connections of `class`.
    #[must_use]
    pub fn of(&self, class: Class) -> Self {
        Self { pool: of_class(&self.pools, class).clone(), ..self.clone() }
    }

    /// Returns connection counts and waiting times by class.
    pub fn usage(&self) -> [Usage; Class::ALL.len()] {
        std::array::from_fn(|at| self.pools[at].usage())
    }

    /// Tests how sessions of the database behave, and logs warnings about the result once.
    ///
    /// # Errors
    /// [`DbError::Unusable`] when Panda cannot work through the connection pooler or proxy between it and the database.
    pub async fn sessions(&self) -> Result<connect::Sessions, DbError> {
        Ok(self.connector.sessions().await?)
    }

    /// Begins a transaction, which ends without an effect unless it is committed.
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        Ok(self.pool.begin().await?)
    }

    /// Fails unless the database answers a query.
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(&self.pool).await?;
        Ok(())
    }
}

/// Facts as a query reads them.
impl From<Json<Facts>> for Facts {
    fn from(stored: Json<Self>) -> Self {
        stored.0
    }
}

/// Returns keys of JSON as a parameter.
fn keys(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn of_class(pools: &[Pool; Class::ALL.len()], class: Class) -> &Pool {
    &pools[class as usize]
}

fn open_pool(class: Class, options: &DbOptions, connector: &Connector, health: &Arc<health::DbHealth>) -> Pool {
    let connections = class.share(options.max_connections);
    let trust = Arc::clone(health);
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(options.acquire_timeout);
    // A statement that hangs must not hold a lease past its end.
    let limit = class.statement_limit();
    let session = SessionLimits { statement: limit, lock: "0", idle_in_transaction: limit };
    let (inner, admission) = connector.pool(pool, session, move |age| trust.trusts(age));
    Pool::new(inner, admission, class, connections, class.patience(options.acquire_timeout))
}
