//! All SQL of the program, checked at compile time. May use `domain` and no other room.

pub mod archive;
pub mod audit;
pub mod build_secrets;
pub mod commit;
pub mod connect;
pub mod connections;
pub mod create;
mod deferred;
pub mod deployments;
pub mod events;
pub mod feed;
pub mod fitness;
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
pub mod revocations;
pub mod schedules;
pub mod schema;
pub mod sealed;
pub mod sessions;
pub mod tokens;
pub mod turns;
pub mod wishes;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;

use connect::{Access, Cause, Connector, Session};
pub use pool::Busy;
use pool::Pool;

pub use crate::domain::connection_class::{Class, Usage};
use crate::domain::database::Source;
use crate::domain::keyring::{KeyError, Keyring};
use crate::domain::schema::TooNew;

/// What can go wrong with the database, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection, it broke, or the database cannot do it now: the statement may or may not have happened. Try again later.
    #[error("{}", health::description(.0))]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Other work of the same class uses all of its connections. Try again later, with less at once.
    #[error(transparent)]
    Busy(Busy),
    /// The database holds something that this version cannot read.
    #[error("the database holds an unexpected value: {0}")]
    Corrupt(String),
    /// The database cannot be used as it is reached.
    #[error(transparent)]
    Unusable(Cause),
    /// A secret cannot be sealed or opened.
    #[error("a stored secret cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The schema cannot be brought up to date.
    #[error("the schema cannot be migrated: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The schema is for newer programs.
    #[error(transparent)]
    TooNew(#[from] TooNew),
    /// Panda does not run on this database.
    #[error(transparent)]
    Unfit(#[from] fitness::Unfit),
    /// The server has not brought the database to its schema yet.
    #[error("{0}")]
    SchemaPending(String),
    /// Notifications do not arrive.
    #[error("notifications do not arrive through this connection pooler")]
    Deaf,
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
                // 08 connection, 25006 read-only (a failover), 25P03 idle for too long in a transaction, 53 out of resources, 55P03 and
                // 57014 took too long (by our own time limit), 57P shutdown, 58 system, 40 serialization: all pass. So do a schema that is not
                // migrated yet and rights that are not granted yet: nothing but the operator's work is missing.
                let code = refused.code().unwrap_or_default().into_owned();
                let passing = ["08", "25006", "25P03", "53", "55P03", "57014", "57P", "58", "40"];
                let passing = passing.iter().any(|class| code.starts_with(class));
                if passing || health::is_not_set_up(&code) { Self::Unavailable(error) } else { Self::Refused(error) }
            }
            E::ColumnDecode { .. } | E::Decode(_) => Self::Corrupt(error.to_string()),
            _ => Self::Refused(error),
        }
    }
}

impl DbError {
    /// Whether Panda does not run on this database however long it waits. A role that may not migrate waits for one that may.
    pub fn is_final(&self) -> bool {
        match self {
            Self::TooNew(_) | Self::Unusable(_) => true,
            Self::Unfit(unfit) => !matches!(unfit, fitness::Unfit::NotOwner { .. }),
            _ => false,
        }
    }

    /// Whether no connection is allowed: waiting helps only if an operator changes something meanwhile.
    pub fn is_refused_connection(&self) -> bool {
        matches!(self, Self::Unavailable(error) if connect::carried(error).is_some_and(Cause::is_refusal))
    }

    /// Whether waiting may help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::SchemaPending(_) | Self::Busy(_) | Self::Unusable(_))
    }
}

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// Where its address comes from.
    pub url: Source,
    /// How it is reached beside that.
    pub access: Access,
    /// Most connections in the pool.
    pub max_connections: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// What seals and opens secrets; without it, connections can be neither stored nor used.
    pub keyring: Option<Arc<Keyring>>,
}

/// The database, for one class of work: cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    /// The pool of this handle's class.
    pool: Pool,
    pools: Arc<[Pool; Class::ALL.len()]>,
    connector: Connector,
    commits: Arc<commit::Group>,
    health: Arc<health::Health>,
    privileges: Arc<fitness::PrivilegeCache>,
    keyring: Option<Arc<Keyring>>,
    request_key: Arc<tokio::sync::OnceCell<aws_lc_rs::hmac::Key>>,
}

impl Db {
    /// Pools that connect when first used: a database that is away at start is no reason to die. For [`Class::Api`] at first.
    ///
    /// # Errors
    /// [`DbError::Unusable`] when an address is not one.
    pub fn new(options: &DbOptions) -> Result<Self, DbError> {
        let connector = Connector::new(&options.url, &options.access).map_err(DbError::Unusable)?;
        let health = Arc::<health::Health>::default();
        let pools = Arc::new(Class::ALL.map(|class| open(class, options, &connector, &health)));
        Ok(Self {
            commits: Arc::new(commit::Group::new(of_class(&pools, Class::Reconcile).clone())),
            pool: of_class(&pools, Class::Api).clone(),
            pools,
            connector,
            health,
            privileges: Arc::default(),
            keyring: options.keyring.clone(),
            request_key: Arc::default(),
        })
    }

    /// The same database, on the connections of `class`.
    #[must_use]
    pub fn of(&self, class: Class) -> Self {
        Self { pool: of_class(&self.pools, class).clone(), ..self.clone() }
    }

    /// What each class uses and waits for.
    pub fn usage(&self) -> [Usage; Class::ALL.len()] {
        std::array::from_fn(|at| self.pools[at].usage())
    }

    /// How sessions of the database behave; what it warns of is logged once.
    ///
    /// # Errors
    /// [`DbError::Unusable`] when Panda cannot work through what is on the way to the database.
    pub async fn sessions(&self) -> Result<connect::Sessions, DbError> {
        Ok(self.connector.sessions().await?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(&self.pool).await?;
        Ok(())
    }
}

fn of_class(pools: &[Pool; Class::ALL.len()], class: Class) -> &Pool {
    &pools[class as usize]
}

/// The pool of `class`.
fn open(class: Class, options: &DbOptions, connector: &Connector, health: &Arc<health::Health>) -> Pool {
    let connections = class.share(options.max_connections);
    let trust = Arc::clone(health);
    let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(options.acquire_timeout);
    // A statement that hangs must not hold a lease past its end.
    let limit = class.statement_limit();
    let session = Session { statement: limit, lock: "0", idle_in_transaction: limit };
    let (inner, link) = connector.pool(pool, session, move |age| trust.trusts(age));
    Pool::new(inner, link, class, connections, class.patience(options.acquire_timeout))
}
