//! Connections to the database: one address for the pools and, where that leads through a connection pooler in transaction mode, a second address that
//! leads to Postgres itself. See docs/decisions/0043-connections.md.

mod acquire;
mod cause;
mod endpoint;
mod options;
mod self_test;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use sqlx::postgres::{PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Error};
use tokio::time::timeout;

use acquire::AddressTracker;
pub(super) use acquire::PoolAdmission;
pub use cause::Cause;
pub(super) use cause::carried;
use cause::wrap;
use endpoint::Endpoint;
pub use self_test::Sessions;
pub use session::SessionLimits;

use crate::domain::database::{AddressSource, PasswordTokens};

/// Options for reaching the database, besides its address.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Address that leads to Postgres itself, for listening and migrating.
    pub direct: Option<AddressSource>,
    /// Makes tokens that replace the password.
    pub tokens: Option<Arc<dyn PasswordTokens>>,
    /// Makes pools wait for the session self-test before their first connection: there may be a pooler in between.
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
    /// The running self-test, or the result of the last one.
    test: Mutex<Option<Test>>,
}

type Test = Shared<BoxFuture<'static, Result<Sessions, Cause>>>;

/// Time limit of the liveness check of an idle connection.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Session limits of the self-test and of other connections for single queries.
const DEFAULT_LIMITS: SessionLimits = SessionLimits { statement: "15s", lock: "0", idle_in_transaction: "15s" };

impl Connector {
    /// Creates a connector that connects to nothing yet.
    ///
    /// # Errors
    /// Fails when an address is not valid, or its file cannot be read.
    pub fn new(source: &AddressSource, access: &Access) -> Result<Self, Cause> {
        let endpoint =
            |source: &AddressSource| Endpoint::new(source.clone(), access.tokens.clone(), DEFAULT_LIMITS).map(Arc::new);
        let pooled = endpoint(source)?;
        let direct = access.direct.as_ref().map(endpoint).transpose()?;
        Ok(Self(Arc::new(Inner { pooled, direct, tested: access.tested, test: Mutex::default() })))
    }

    /// Creates a pool with `options`, whose sessions have the limits of `session`. It connects on first use. Connections that `trusts` rejects by
    /// their age are not reused, nor are connections to a server that is not in use any more.
    pub(super) fn pool(
        &self,
        options: PgPoolOptions,
        session: SessionLimits,
        trusts: impl Fn(Duration) -> bool + Send + Sync + 'static,
    ) -> (PgPool, PoolAdmission) {
        let endpoint = &self.0.pooled;
        let (seen, connect) = endpoint.options();
        let reached = Arc::clone(endpoint);
        // Replaces the pool's own liveness test, which would first wait for an answer on a connection that is not to be reused.
        let options = options.test_before_acquire(false).before_acquire(move |connection, opened| {
            let trusted = trusts(opened.age) && reached.trusts(opened.age);
            Box::pin(async move { Ok(trusted && matches!(timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))) })
        });
        let options = with_sessions(options, endpoint, session);
        (
            options.connect_lazy_with(connect),
            PoolAdmission::new(self.clone(), AddressTracker::new(Arc::clone(endpoint), seen)),
        )
    }

    /// Returns the cause of the last failed connection of a pool.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.0.pooled.cause()
    }

    /// Returns the address where sessions are kept: that of Postgres itself, as far as is known.
    pub(super) fn direct(&self) -> &Arc<Endpoint> {
        self.0.direct.as_ref().unwrap_or(&self.0.pooled)
    }

    /// Reports that [`Connector::direct`] is a different address from the pools'.
    fn has_direct(&self) -> bool {
        self.0.direct.is_some()
    }

    /// Opens a connection to Postgres itself, outside any pool.
    pub(super) async fn connect_directly(
        &self,
        session: SessionLimits,
        limit: Duration,
    ) -> Result<PgConnection, Error> {
        self.direct().connect(&session, limit).await
    }

    /// Opens a listener to Postgres itself, outside any pool.
    pub(super) async fn listener(&self, limit: Duration) -> Result<PgListener, Error> {
        listener(self.direct(), limit).await
    }

    /// Tests how sessions behave. One test runs at a time, and a successful result is kept.
    ///
    /// # Errors
    /// A connection cannot be opened, or Panda cannot work through the pooler.
    pub(super) async fn sessions(&self) -> Result<Sessions, Error> {
        let test = {
            let mut last = self.0.test.lock();
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

    /// Runs in a task, so that a cancelled caller does not end it.
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

    /// Waits until the behaviour of sessions is known.
    async fn admitted(&self, limit: Duration) -> Result<(), Error> {
        if !self.0.tested {
            return Ok(());
        }
        match timeout(limit, self.sessions()).await {
            Ok(tested) => tested.map(|_| ()),
            Err(_) => Err(wrap(self.0.pooled.cause().unwrap_or(Cause::Silent))),
        }
    }

    /// Reports that a listener receives notifications of the pools. Assumed without a self-test.
    pub(super) async fn delivers_notifications(&self) -> Result<bool, Error> {
        Ok(!self.0.tested || self.sessions().await?.notified)
    }

    /// Reports that [`Connector::direct`] leads to one server process for each session.
    pub(super) async fn has_direct_sessions(&self) -> Result<bool, Error> {
        Ok(self.has_direct() || !self.0.tested || self.sessions().await?.kept)
    }
}

async fn listener(endpoint: &Arc<Endpoint>, limit: Duration) -> Result<PgListener, Error> {
    endpoint.refresh().await?;
    let (seen, connect) = endpoint.options();
    let own = PgPoolOptions::new().max_connections(1).acquire_timeout(limit).max_lifetime(None).idle_timeout(None);
    let own = with_sessions(own, endpoint, DEFAULT_LIMITS).connect_lazy_with(connect);
    // Acquired here first, so that a moved server or a changed password is discovered.
    drop(AddressTracker::new(Arc::clone(endpoint), seen).acquire(&own).await?);
    PgListener::connect_with(&own).await
}

fn with_sessions(options: PgPoolOptions, endpoint: &Arc<Endpoint>, session: SessionLimits) -> PgPoolOptions {
    let endpoint = Arc::clone(endpoint);
    options.after_connect(move |connection, _| {
        let endpoint = Arc::clone(&endpoint);
        Box::pin(async move { endpoint.begin(connection, &session).await })
    })
}
