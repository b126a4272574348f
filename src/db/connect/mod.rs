//! Connections to the database: by one address for the pools and, where those go through a connection pooler in transaction mode, by a second one
//! that leads to Postgres itself. docs/decisions/0043-connections.md

mod acquire;
mod cause;
mod endpoint;
mod options;
mod self_test;
mod session;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use sqlx::postgres::{PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Error};
use tokio::time::timeout;

pub(super) use acquire::Link;
use acquire::Tie;
pub use cause::Cause;
pub(super) use cause::carried;
use cause::wrap;
use endpoint::Endpoint;
pub use self_test::Sessions;
pub use session::Session;

use crate::domain::database::{PasswordTokens, Source};

/// How the database is reached, beside its address.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// An address that leads to Postgres itself, for listening and migrating.
    pub direct: Option<Source>,
    /// Makes tokens in place of the password.
    pub tokens: Option<Arc<dyn PasswordTokens>>,
    /// Whether nothing is asked before it is known how the sessions behave: there may be a pooler on the way.
    pub tested: bool,
}

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

struct Inner {
    pooled: Arc<Endpoint>,
    direct: Option<Arc<Endpoint>>,
    tested: bool,
    /// The self-test that runs, or what came of the last one.
    test: Mutex<Option<Test>>,
}

type Test = Shared<BoxFuture<'static, Result<Sessions, Cause>>>;

/// How long a connection that was idle may take to show that it is alive.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// A session of the self-test, and of other connections that ask one thing.
const PLAIN: Session = Session { statement: "15s", lock: "0", idle_in_transaction: "15s" };

impl Connector {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When an address is not one, or its file cannot be read.
    pub fn new(source: &Source, access: &Access) -> Result<Self, Cause> {
        let endpoint = |source: &Source| Endpoint::new(source.clone(), access.tokens.clone(), PLAIN).map(Arc::new);
        let pooled = endpoint(source)?;
        let direct = access.direct.as_ref().map(endpoint).transpose()?;
        Ok(Self(Arc::new(Inner { pooled, direct, tested: access.tested, test: Mutex::default() })))
    }

    /// A pool with `options`, whose sessions have the limits of `session`. It connects when first used. Connections that were opened so long ago
    /// that `trusts` says no are not used again, nor are those to a server that is not used any more.
    pub(super) fn pool(
        &self,
        options: PgPoolOptions,
        session: Session,
        trusts: impl Fn(Duration) -> bool + Send + Sync + 'static,
    ) -> (PgPool, Link) {
        let endpoint = &self.0.pooled;
        let (seen, connect) = endpoint.options();
        let reached = Arc::clone(endpoint);
        // In place of the pool's own test, which would first wait for an answer on a connection that is not to be used.
        let options = options.test_before_acquire(false).before_acquire(move |connection, opened| {
            let trusted = trusts(opened.age) && reached.trusts(opened.age);
            Box::pin(async move { Ok(trusted && matches!(timeout(PING_LIMIT, connection.ping()).await, Ok(Ok(())))) })
        });
        let options = with_sessions(options, endpoint, session);
        (options.connect_lazy_with(connect), Link::new(self.clone(), Tie::new(Arc::clone(endpoint), seen)))
    }

    /// Why the last connection of a pool could not be opened.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.0.pooled.cause()
    }

    /// Where sessions are kept: Postgres itself, as far as is known.
    pub(super) fn direct(&self) -> &Arc<Endpoint> {
        self.0.direct.as_ref().unwrap_or(&self.0.pooled)
    }

    /// Whether [`Connector::direct`] is another address than the pools'.
    fn has_direct(&self) -> bool {
        self.0.direct.is_some()
    }

    /// A connection that no pool has, to Postgres itself.
    pub(super) async fn connect_directly(&self, session: Session, limit: Duration) -> Result<PgConnection, Error> {
        self.direct().connect(&session, limit).await
    }

    /// A listener with a connection that no pool has, to Postgres itself.
    pub(super) async fn listener(&self, limit: Duration) -> Result<PgListener, Error> {
        listener(self.direct(), limit).await
    }

    /// How the sessions behave. One test runs at a time, and one that went well is the last.
    ///
    /// # Errors
    /// A connection that cannot be opened, or a pooler that Panda cannot work through.
    pub(super) async fn sessions(&self) -> Result<Sessions, Error> {
        let test = {
            let mut last = self.0.test.lock().unwrap_or_else(PoisonError::into_inner);
            match &*last {
                Some(test) if !matches!(test.peek(), Some(Err(_))) => test.clone(),
                _ => last.insert(self.begin_test()).clone(),
            }
        };
        test.await.map_err(|cause| {
            self.0.pooled.failed(cause.clone());
            wrap(cause)
        })
    }

    /// In a task: a caller that gives up does not end it.
    fn begin_test(&self) -> Test {
        let (pooled, direct) = (Arc::clone(&self.0.pooled), self.0.direct.clone());
        let test = tokio::spawn(async move { self_test::run(&pooled, direct.as_ref()).await });
        let ended = test.map(|ended| match ended {
            Ok(Ok(sessions)) => Ok(sessions),
            Ok(Err(error)) => Err(Cause::of(&error)),
            Err(_) => Err(Cause::Silent),
        });
        ended.boxed().shared()
    }

    /// Lets a pool connect, once it is known how sessions behave.
    async fn admitted(&self, limit: Duration) -> Result<(), Error> {
        if !self.0.tested {
            return Ok(());
        }
        match timeout(limit, self.sessions()).await {
            Ok(tested) => tested.map(|_| ()),
            Err(_) => Err(wrap(self.0.pooled.cause().unwrap_or(Cause::Silent))),
        }
    }

    /// Whether a listener hears what the pools notify. Taken for granted where nothing is tested.
    pub(super) async fn hears(&self) -> Result<bool, Error> {
        Ok(!self.0.tested || self.sessions().await?.notified)
    }

    /// Whether [`Connector::direct`] leads to one server process a session.
    pub(super) async fn keeps_directly(&self) -> Result<bool, Error> {
        Ok(self.has_direct() || !self.0.tested || self.sessions().await?.kept)
    }
}

async fn listener(endpoint: &Arc<Endpoint>, limit: Duration) -> Result<PgListener, Error> {
    endpoint.freshen().await?;
    let (seen, connect) = endpoint.options();
    let own = PgPoolOptions::new().max_connections(1).acquire_timeout(limit).max_lifetime(None).idle_timeout(None);
    let own = with_sessions(own, endpoint, PLAIN).connect_lazy_with(connect);
    // Opened here first: a server that moved, or a password that changed, is found.
    drop(Tie::new(Arc::clone(endpoint), seen).acquire(&own).await?);
    PgListener::connect_with(&own).await
}

fn with_sessions(options: PgPoolOptions, endpoint: &Arc<Endpoint>, session: Session) -> PgPoolOptions {
    let endpoint = Arc::clone(endpoint);
    options.after_connect(move |connection, _| {
        let endpoint = Arc::clone(&endpoint);
        Box::pin(async move { endpoint.begin(connection, &session).await })
    })
}
