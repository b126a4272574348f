//! One address of the database: selects the server and the password for new connections. Both change while Panda runs: servers fail over, passwords
//! are rotated, tokens expire.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Error};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::cause::{Cause, wrap};
use super::options;
use super::session::SessionLimits;
use crate::bounded;
use crate::domain::database::{AddressSource, PasswordTokens};
use crate::domain::postgres_url::{PostgresUrl, UrlError};

/// Time limit of connecting to one server, unless the address sets another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Minimum time between two discoveries: failures in between share the last one.
const DISCOVERY_INTERVAL: Duration = Duration::from_millis(250);

/// Minimum time between two reads of the address file while connections succeed.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Age at which a token is renewed. Tokens are valid for 15 minutes, and only new connections need one.
const TOKEN_RENEW_AFTER: Duration = Duration::from_mins(10);

/// Age from which a token is not used any more, even if none can be made.
const TOKEN_UNUSABLE_AFTER: Duration = Duration::from_secs(14 * 60 + 30);

/// An address with its servers and the options for new connections.
pub(in crate::db) struct Endpoint {
    source: AddressSource,
    tokens: Option<Arc<dyn PasswordTokens>>,
    session: SessionLimits,
    state: Mutex<State>,
    /// Version of the options for new connections; increases with each change.
    generation: watch::Sender<u64>,
    /// Time of the last discovery; locked while one runs.
    last_discovery: tokio::sync::Mutex<Option<Instant>>,
}

/// The driver's options would show the password.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

struct State {
    text: SecretString,
    url: Arc<PostgresUrl>,
    /// Index of the server in use.
    server: usize,
    /// True if that server takes writes, as far as is known.
    located: bool,
    token: Option<(SecretString, Instant)>,
    options: PgConnectOptions,
    /// Cause of the last failed connection; none since one succeeded.
    cause: Option<Cause>,
    /// Connections opened before this time lead to another server.
    switched: Option<Instant>,
    read: Instant,
}

impl Endpoint {
    pub(super) fn new(
        source: AddressSource,
        tokens: Option<Arc<dyn PasswordTokens>>,
        session: SessionLimits,
    ) -> Result<Self, Cause> {
        let text = match &source {
            AddressSource::Url(url) => url.clone(),
            AddressSource::File(path) => read_now(path)?,
        };
        let url = Arc::new(PostgresUrl::parse(text.expose_secret()).map_err(Cause::Url)?);
        let options = options_of(&url, 0, None)?;
        let located = url.servers.len() == 1;
        let state = State {
            text,
            url,
            server: 0,
            located,
            token: None,
            options,
            cause: None,
            switched: None,
            read: Instant::now(),
        };
        let (generation, _) = watch::channel(1);
        Ok(Self {
            source,
            tokens,
            session,
            state: Mutex::new(state),
            generation,
            last_discovery: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the options for new connections and their version.
    pub(super) fn options(&self) -> (u64, PgConnectOptions) {
        let state = self.state();
        (self.seen(), state.options.clone())
    }

    fn seen(&self) -> u64 {
        *self.generation.borrow()
    }

    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Returns the cause of the last failed connection; none when the last one succeeded.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.state().cause.clone()
    }

    pub(super) fn failed(&self, cause: Cause) {
        self.state().cause = Some(cause);
    }

    /// Reports that a connection opened `age` ago leads to the server in use.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        self.state().switched.is_none_or(|since| since.elapsed() > age)
    }

    /// Reports that the address itself sets session settings.
    pub(super) fn has_settings(&self) -> bool {
        !self.state().url.settings.is_empty()
    }

    /// Initialises the session of a connection that was just opened.
    pub(super) async fn begin(
        self: &Arc<Self>,
        connection: &mut PgConnection,
        session: &SessionLimits,
    ) -> Result<(), Error> {
        let url = Arc::clone(&self.state().url);
        match session.begin(connection, &url.settings).await {
            Ok(begun) => {
                let mut state = self.state();
                state.cause = None;
                if !begun.writable && state.url.servers.len() > 1 {
                    // Reads continue on this server while discovery finds the primary.
                    state.located = false;
                    drop(state);
                    let (endpoint, seen) = (Arc::clone(self), self.seen());
                    tokio::spawn(async move { endpoint.discover(seen).await });
                }
                Ok(())
            }
            Err(error) => {
                self.failed(Cause::of(&error));
                Err(error)
            }
        }
    }

    /// Refreshes what the next connection needs, as far as no connection is required: address file and token.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        let (due, token) = {
            let mut state = self.state();
            let due = state.read.elapsed() > FILE_POLL_INTERVAL;
            if due {
                state.read = Instant::now();
            }
            (due, state.token.as_ref().map(|(_, since)| since.elapsed()))
        };
        if due && matches!(self.source, AddressSource::File(_)) {
            // An invalid new file matters only once the old address fails.
            let _ = self.read_file().await;
        }
        if self.tokens.is_some() && token.is_none_or(|age| age > TOKEN_RENEW_AFTER) {
            let renewed = self.renew_token().await;
            if token.is_none_or(|age| age > TOKEN_UNUSABLE_AFTER) {
                renewed?;
            }
        }
        if !self.state().located {
            let seen = self.seen();
            self.discover(seen).await;
        }
        Ok(())
    }

    /// Discovers servers after a failure under the version `seen`. Returns whether the options have changed, so that a retry may succeed.
    pub(super) async fn discover(&self, seen: u64) -> bool {
        let mut last = self.last_discovery.lock().await;
        if self.seen() != seen {
            return true;
        }
        if last.is_some_and(|last| last.elapsed() < DISCOVERY_INTERVAL) {
            return false;
        }
        let file = self.read_file().await.err();
        self.locate().await;
        let refused = matches!(self.cause(), Some(Cause::Password | Cause::Role | Cause::Authentication));
        // The password has changed, and the new one cannot be read.
        if let Some(cause) = file.filter(|_| refused) {
            self.failed(cause);
        }
        *last = Some(Instant::now());
        self.seen() != seen
    }

    /// Finds the server that takes writes. All servers are asked concurrently: a server that drops packets must not delay the others.
    async fn locate(&self) {
        let (url, current) = {
            let state = self.state();
            (Arc::clone(&state.url), state.server)
        };
        let ask = |at| {
            let url = Arc::clone(&url);
            async move { (at, self.ask(&url, at).await) }
        };
        let mut asked: FuturesUnordered<_> = (0..url.servers.len()).map(ask).collect();
        let (mut readable, mut causes) = (None, Vec::new());
        while let Some((at, answer)) = asked.next().await {
            match answer {
                Ok((true, token)) => return self.use_server(&url, at, token, None),
                Ok((false, token)) => readable = readable.or(Some((at, token))),
                Err(cause) => causes.push((at != current, cause)),
            }
        }
        causes.sort_by_key(|(other, _)| *other);
        let single = url.servers.len() == 1;
        match (readable, causes.into_iter().next()) {
            // With a single server, the heartbeat finds out whether it takes writes.
            (Some((at, token)), _) => self.use_server(&url, at, token, (!single).then_some(Cause::ReadOnly)),
            (None, Some((_, cause))) => self.failed(cause),
            (None, None) => {}
        }
    }

    /// Connects to one server. Returns whether it takes writes, and the token that was used.
    async fn ask(&self, url: &PostgresUrl, at: usize) -> Result<(bool, Option<SecretString>), Cause> {
        let asked = async {
            let options = options_of(url, at, None)?;
            // Resolved separately: the error of connecting does not name DNS as the cause.
            if let Some(name) = options::name(&options)
                && tokio::net::lookup_host((name, options.get_port())).await.is_err()
            {
                return Err(Cause::HostUnknown);
            }
            let token = self.token(&options).await?;
            let options = options_of(url, at, token.as_ref())?;
            let mut connection = options.connect().await.map_err(|error| match Cause::of(&error) {
                // TLS files are read for each connection, and their I/O errors look like errors of a socket.
                Cause::Socket if !options::is_socket(&options) => Cause::TlsFiles,
                cause => cause,
            })?;
            let begun = self.session.begin(&mut connection, &url.settings).await.map_err(|error| Cause::of(&error))?;
            let _ = connection.close().await;
            Ok((begun.writable, token))
        };
        timeout(url.connect_timeout.unwrap_or(CONNECT_TIMEOUT), asked).await.unwrap_or(Err(Cause::Silent))
    }

    /// Makes a token for the server of `options`; none when passwords are used.
    async fn token(&self, options: &PgConnectOptions) -> Result<Option<SecretString>, Cause> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let made = tokens.token(options.get_host(), options.get_port(), options.get_username());
        let made = timeout(CONNECT_TIMEOUT, made).await.unwrap_or_else(|_| Err("AWS does not answer".to_owned()));
        made.map(Some).map_err(Cause::Token)
    }

    fn use_server(&self, url: &Arc<PostgresUrl>, at: usize, token: Option<SecretString>, cause: Option<Cause>) {
        let mut state = self.state();
        // The address may have changed during the discovery.
        if !Arc::ptr_eq(&state.url, url) {
            return;
        }
        state.located = cause.is_none();
        state.cause = cause;
        let renewed = token.is_some();
        if let Some(token) = token {
            state.token = Some((token, Instant::now()));
        }
        let switched = state.server != at;
        if switched {
            tracing::warn!(server = at + 1, of = url.servers.len(), "switched to another database server");
            state.server = at;
            state.switched = Some(Instant::now());
        }
        if switched || renewed {
            self.changed(&mut state);
        }
    }

    fn changed(&self, state: &mut State) {
        match options_of(&state.url, state.server, state.token.as_ref().map(|(token, _)| token)) {
            Ok(options) => state.options = options,
            Err(cause) => state.cause = Some(cause),
        }
        self.generation.send_modify(|generation| *generation += 1);
    }

    async fn read_file(&self) -> Result<(), Cause> {
        let AddressSource::File(path) = &self.source else { return Ok(()) };
        let path = path.clone();
        let read = tokio::task::spawn_blocking(move || read_now(&path)).await;
        let text = read.unwrap_or(Err(Cause::UrlFile))?;
        if self.state().text.expose_secret() == text.expose_secret() {
            return Ok(());
        }
        let url = PostgresUrl::parse(text.expose_secret()).map_err(Cause::Url)?;
        let mut state = self.state();
        tracing::info!("database URL file changed, using the new address");
        if state.url.servers != url.servers || state.url.database != url.database {
            state.located = url.servers.len() == 1;
            state.switched = Some(Instant::now());
        }
        (state.server, state.token) = (state.server.min(url.servers.len() - 1), None);
        (state.text, state.url) = (text, Arc::new(url));
        self.changed(&mut state);
        Ok(())
    }

    /// Makes a token for the server in use, when tokens are used.
    async fn renew_token(&self) -> Result<(), Error> {
        let options = self.state().options.clone();
        let made = self.token(&options).await;
        let mut state = self.state();
        match made {
            Ok(None) => {}
            Ok(Some(token)) => {
                state.token = Some((token, Instant::now()));
                self.changed(&mut state);
            }
            Err(cause) => {
                state.cause = Some(cause.clone());
                return Err(wrap(cause));
            }
        }
        Ok(())
    }

    /// Opens a connection outside any pool.
    pub(in crate::db) async fn connect(
        self: &Arc<Self>,
        session: &SessionLimits,
        limit: Duration,
    ) -> Result<PgConnection, Error> {
        let deadline = Instant::now() + limit;
        loop {
            self.refresh().await?;
            let (seen, options) = self.options();
            let left = deadline.saturating_duration_since(Instant::now());
            let opened = async {
                let mut connection = options.connect().await?;
                self.begin(&mut connection, session).await?;
                Ok(connection)
            };
            let error = match timeout(left, opened).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => Error::Io(std::io::ErrorKind::TimedOut.into()),
            };
            if !self.discover(seen).await || Instant::now() >= deadline {
                return Err(wrap(self.cause().unwrap_or_else(|| Cause::of(&error))));
            }
        }
    }
}

fn options_of(url: &PostgresUrl, server: usize, token: Option<&SecretString>) -> Result<PgConnectOptions, Cause> {
    options::of(url, &url.servers[server], token).map_err(|error| Cause::of(&error))
}

/// Reads the address from the file and trims it, including the byte order mark that some editors write.
fn read_now(path: &Path) -> Result<SecretString, Cause> {
    let text = bounded::text_file(path).map_err(|_| Cause::UrlFile)?;
    let address = text.trim_start_matches('\u{feff}').trim();
    if address.is_empty() {
        return Err(Cause::Url(UrlError::in_file()));
    }
    Ok(SecretString::from(address.to_owned()))
}
