//! One address of the database: which of its servers is used, with which password. Both change while Panda runs: servers fail over, passwords are
//! rotated, tokens run out.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Error};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::cause::{Cause, wrap};
use super::options;
use super::session::Session;
use crate::bounded;
use crate::domain::database::{PasswordTokens, Source};
use crate::domain::postgres_url::{PostgresUrl, UrlError};

/// How long one server may take to let us in, unless the address says otherwise.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Between two looks at the servers, for all that fail meanwhile together.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Between two looks at the address's file while all is well.
const FILE_PAUSE: Duration = Duration::from_secs(1);

/// A token holds for fifteen minutes, and only new connections need it.
const TOKEN_FRESH: Duration = Duration::from_mins(10);

/// When it is not used any more, in case none can be made.
const TOKEN_ENDS: Duration = Duration::from_secs(14 * 60 + 30);

/// One address.
pub(in crate::db) struct Endpoint {
    source: Source,
    tokens: Option<Arc<dyn PasswordTokens>>,
    session: Session,
    state: Mutex<State>,
    /// One more with each change of what new connections are opened with.
    generation: watch::Sender<u64>,
    /// When the servers were last looked at; held while they are.
    look: tokio::sync::Mutex<Option<Instant>>,
}

/// The driver's options show the password.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

struct State {
    text: SecretString,
    url: Arc<PostgresUrl>,
    /// The one in use.
    server: usize,
    /// Whether that is the one that takes writes, as far as is known.
    located: bool,
    token: Option<(SecretString, Instant)>,
    options: PgConnectOptions,
    /// Why the last connection could not be opened; none since one could.
    cause: Option<Cause>,
    /// Connections that were opened before are to another server.
    switched: Option<Instant>,
    /// When the file was last read.
    read: Instant,
}

impl Endpoint {
    pub(super) fn new(
        source: Source,
        tokens: Option<Arc<dyn PasswordTokens>>,
        session: Session,
    ) -> Result<Self, Cause> {
        let text = match &source {
            Source::Url(url) => url.clone(),
            Source::File(path) => read_now(path)?,
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
        Ok(Self { source, tokens, session, state: Mutex::new(state), generation, look: tokio::sync::Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What new connections are opened with, and the number of this version of it.
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

    /// Why there is no connection; none when the last one could be opened.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.state().cause.clone()
    }

    pub(super) fn failed(&self, cause: Cause) {
        self.state().cause = Some(cause);
    }

    /// Whether a connection that was opened `age` ago is to the server in use.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        self.state().switched.is_none_or(|since| since.elapsed() > age)
    }

    /// The address's own settings of sessions.
    pub(super) fn has_settings(&self) -> bool {
        !self.state().url.settings.is_empty()
    }

    /// Sets up a connection that was just opened.
    pub(super) async fn begin(self: &Arc<Self>, connection: &mut PgConnection, session: &Session) -> Result<(), Error> {
        let url = Arc::clone(&self.state().url);
        match session.begin(connection, &url.settings).await {
            Ok(begun) => {
                let mut state = self.state();
                state.cause = None;
                if !begun.writable && state.url.servers.len() > 1 {
                    // Reading goes on here, while another one is searched for.
                    state.located = false;
                    drop(state);
                    let (endpoint, seen) = (Arc::clone(self), self.seen());
                    tokio::spawn(async move { endpoint.look(seen).await });
                }
                Ok(())
            }
            Err(error) => {
                self.failed(Cause::of(&error));
                Err(error)
            }
        }
    }

    /// Brings up to date what the next connection is opened with, as far as that takes no connection: file and token.
    pub(super) async fn freshen(&self) -> Result<(), Error> {
        let (due, token) = {
            let mut state = self.state();
            let due = state.read.elapsed() > FILE_PAUSE;
            if due {
                state.read = Instant::now();
            }
            (due, state.token.as_ref().map(|(_, since)| since.elapsed()))
        };
        if due && matches!(self.source, Source::File(_)) {
            // What is wrong with a new file matters when the old address does not do any more.
            let _ = self.read_file().await;
        }
        if self.tokens.is_some() && token.is_none_or(|age| age > TOKEN_FRESH) {
            let renewed = self.renew_token().await;
            if token.is_none_or(|age| age > TOKEN_ENDS) {
                renewed?;
            }
        }
        if !self.state().located {
            let seen = self.seen();
            self.look(seen).await;
        }
        Ok(())
    }

    /// After a failure under the version `seen`: whether there is something else to try.
    pub(super) async fn look(&self, seen: u64) -> bool {
        let mut last = self.look.lock().await;
        if self.seen() != seen {
            return true;
        }
        if last.is_some_and(|last| last.elapsed() < LOOK_PAUSE) {
            return false;
        }
        if let Err(cause) = self.read_file().await {
            self.failed(cause);
        }
        self.locate().await;
        *last = Some(Instant::now());
        self.seen() != seen
    }

    /// Finds the server that takes writes. All are asked at once: one that swallows packets must not keep us from the others.
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
            // Whether a single one takes writes is the heartbeat's to find out.
            (Some((at, token)), _) => self.use_server(&url, at, token, (!single).then_some(Cause::ReadOnly)),
            (None, Some((_, cause))) => self.failed(cause),
            (None, None) => {}
        }
    }

    /// Whether the server takes writes, and the token that it took.
    async fn ask(&self, url: &PostgresUrl, at: usize) -> Result<(bool, Option<SecretString>), Cause> {
        let asked = async {
            let options = options_of(url, at, None)?;
            // Asked for separately: the error of connecting does not say that it was this.
            if let Some(name) = options::name(&options)
                && tokio::net::lookup_host((name, options.get_port())).await.is_err()
            {
                return Err(Cause::HostUnknown);
            }
            let token = self.token(&options).await?;
            let options = options_of(url, at, token.as_ref())?;
            let mut connection = options.connect().await.map_err(|error| match Cause::of(&error) {
                // The files of TLS are read for each connection.
                Cause::Socket if !options::is_socket(&options) => Cause::TlsFiles,
                cause => cause,
            })?;
            let begun = self.session.begin(&mut connection, &url.settings).await.map_err(|error| Cause::of(&error))?;
            let _ = connection.close().await;
            Ok((begun.writable, token))
        };
        timeout(url.connect_timeout.unwrap_or(CONNECT_LIMIT), asked).await.unwrap_or(Err(Cause::Silent))
    }

    /// A new token for the server of `options`; none without tokens.
    async fn token(&self, options: &PgConnectOptions) -> Result<Option<SecretString>, Cause> {
        let Some(tokens) = &self.tokens else { return Ok(None) };
        let made = tokens.token(options.get_host(), options.get_port(), options.get_username());
        let made = timeout(CONNECT_LIMIT, made).await.unwrap_or_else(|_| Err("AWS does not answer".to_owned()));
        made.map(Some).map_err(Cause::Token)
    }

    fn use_server(&self, url: &Arc<PostgresUrl>, at: usize, token: Option<SecretString>, cause: Option<Cause>) {
        let mut state = self.state();
        // The address may have changed meanwhile.
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
            tracing::warn!(server = at + 1, of = url.servers.len(), "another server of the database is used");
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
        let Source::File(path) = &self.source else { return Ok(()) };
        let path = path.clone();
        let read = tokio::task::spawn_blocking(move || read_now(&path)).await;
        let text = read.unwrap_or(Err(Cause::UrlFile))?;
        if self.state().text.expose_secret() == text.expose_secret() {
            return Ok(());
        }
        let url = PostgresUrl::parse(text.expose_secret()).map_err(Cause::Url)?;
        let mut state = self.state();
        tracing::info!("the file with the database URL has changed");
        if state.url.servers != url.servers || state.url.database != url.database {
            state.located = url.servers.len() == 1;
            state.switched = Some(Instant::now());
        }
        (state.server, state.token) = (state.server.min(url.servers.len() - 1), None);
        (state.text, state.url) = (text, Arc::new(url));
        self.changed(&mut state);
        Ok(())
    }

    /// Makes a token for the server in use, unless there is one that is fresh.
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

    /// A connection outside any pool.
    pub(in crate::db) async fn connect(
        self: &Arc<Self>,
        session: &Session,
        limit: Duration,
    ) -> Result<PgConnection, Error> {
        let deadline = Instant::now() + limit;
        loop {
            self.freshen().await?;
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
            if !self.look(seen).await || Instant::now() >= deadline {
                return Err(wrap(self.cause().unwrap_or_else(|| Cause::of(&error))));
            }
        }
    }
}

fn options_of(url: &PostgresUrl, server: usize, token: Option<&SecretString>) -> Result<PgConnectOptions, Cause> {
    options::of(url, &url.servers[server], token).map_err(|error| Cause::of(&error))
}

/// The address in the file, without the line's end.
fn read_now(path: &Path) -> Result<SecretString, Cause> {
    let text = bounded::text_file(path).map_err(|_| Cause::UrlFile)?;
    if text.trim().is_empty() {
        return Err(Cause::Url(UrlError::in_file()));
    }
    Ok(SecretString::from(text.trim().to_owned()))
}
