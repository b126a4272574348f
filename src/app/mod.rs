//! Wiring and shutdown of the server: the only module that depends on all others.

mod components;
mod schema;
mod sign_in;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::clients::ClientError;
use crate::clients::builder::Builder;
use crate::config::Config;
use crate::db::{Class, Db, DbError};
use crate::domain::app_manifest::ManifestSite;
use crate::domain::connection::AwsKeys;
use crate::domain::keyring::KeyError;
use crate::domain::message::message;
use crate::http::middleware::caller_limit::CallerLimit;
use crate::http::readiness::ReadinessCheck;
use crate::http::server::Limits;
use crate::http::{ApiState, Hub, LogControl, PushAccess, ReceiverAccess, Tls, TlsError};
use crate::metrics::Metrics;
use crate::reconcile::Notifier;
use crate::steps::{FIRST_STEP, RETRY_STEP, Services};
use crate::telemetry;
pub use components::{aws, command_database, database, keyring, reconciler, replica_name, retention, services};
use schema::wait_for_schema;
use sign_in::{authentication, wait_for_token};

/// Reasons why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database rejects the configuration, or its schema cannot be used.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The encryption keys are missing, malformed or not usable.
    #[error("{problem}; `panda keys generate --file FILE` makes a key, and --key-file (PANDA_KEY_FILE) names its file")]
    Keys {
        /// Source of the keys and the rule they violate.
        problem: String,
    },
    /// The admin token's file cannot be read, or the token is too weak.
    #[error("--admin-token-file (PANDA_ADMIN_TOKEN_FILE): {problem}")]
    AdminToken {
        /// Path of the file and the rule it violates.
        problem: String,
    },
    /// Authentication is required, and no credentials exist.
    #[error(
        "no caller can sign in at {address}: there is no API token yet. Make one with `panda token create --name NAME --role admin`, or set \
         --admin-token-file (PANDA_ADMIN_TOKEN_FILE) or --oidc-file (PANDA_OIDC_FILE); --no-auth gives everyone who reaches that address full access"
    )]
    NoCredentials {
        /// The address on which the API listens.
        address: SocketAddr,
    },
    /// The builders' file cannot be read or parsed.
    #[error("--builders (PANDA_BUILDERS): {problem}; docs/builds.md has an example")]
    Builders {
        /// Path of the file and the rule it violates.
        problem: String,
    },
    /// The file with OpenID Connect issuers cannot be read or parsed.
    #[error("{problem}; --oidc-file (PANDA_OIDC_FILE) names the file, and docs/security.md has an example")]
    Issuers {
        /// Path of the file and the rule it violates.
        problem: String,
    },
    /// The client of an external service could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The TLS certificate or key is not usable.
    #[error("{0}; --tls-cert (PANDA_TLS_CERT) and --tls-key (PANDA_TLS_KEY) name the files")]
    Tls(#[from] TlsError),
    /// The API's address cannot be bound.
    #[error("cannot listen on {address}: {source}; choose another address with --listen (PANDA_LISTEN)")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// Cause as reported by the operating system.
        source: io::Error,
    },
    /// The metrics' address cannot be bound.
    #[error(
        "cannot listen on {address}: {source}; choose another address with --metrics-listen (PANDA_METRICS_LISTEN)"
    )]
    MetricsListen {
        /// The address as configured.
        address: SocketAddr,
        /// Cause as reported by the operating system.
        source: io::Error,
    },
}

/// Most connections to the separate address of the metrics.
const METRICS_CONNECTIONS: usize = 64;

/// Interval of the connection attempts to an unavailable builder.
const BUILDER_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Time limit of the whole shutdown, beyond the time for running builds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server. Call [`Self::stop`] for an orderly shutdown: dropping it leaves the tasks running.
#[derive(Debug)]
pub struct RunningServer {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    failed: oneshot::Receiver<AppError>,
    /// Time limit of the whole shutdown.
    shutdown: Duration,
}

impl RunningServer {
    /// Returns the address on which the API listens, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for an error that prevents the server from working; pending forever if there is none.
    pub async fn failed(&mut self) -> AppError {
        match (&mut self.failed).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    /// Closes the streams, lets short steps finish and releases the deployments, within five seconds beyond the time for running builds.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = futures_util::future::join_all(self.tasks);
        let Ok(ended) = tokio::time::timeout(self.shutdown, ended).await else {
            return tracing::warn!("tasks did not end within the shutdown time limit");
        };
        for error in ended.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "task panicked");
        }
    }
}

/// Notifies the streams of this process of new events.
fn notifier(streams: Hub) -> Notifier {
    Notifier::new(move |id| streams.notify(id))
}

/// Starts the server, and returns once it listens. An unavailable database does not delay the start: the server waits for it in the background, and
/// readiness reports it.
pub async fn start(config: Config, controller: Option<AwsKeys>) -> Result<RunningServer, AppError> {
    let tls = config.http.tls().map(Tls::load).transpose()?;
    let acceptor = tls.as_ref().map(Tls::acceptor).transpose()?;
    let address = config.http.listen;
    let listener = crate::http::listen(address).map_err(|source| AppError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| AppError::Listen { address, source })?;
    let metrics = Metrics::default();
    let services = Arc::new(Box::pin(services(&config, controller, &metrics)).await?);
    let db = database(&config, &services.aws)?;
    db.set_schema_pending(Some(message!("database.unchecked")));
    if services.aws.controller_region().is_none() {
        tracing::warn!(
            "no AWS region configured for the controller's account, deployments will fail: set --controller-region or AWS_REGION"
        );
    }
    let (for_report, stop) = (Arc::clone(&services), CancellationToken::new());
    let (auth, sign_in, needs_token) = authentication(&config, db.clone(), address, &stop)?;
    let hub = Hub::start(db.of(Class::Live), metrics.clone(), &stop);
    let notifier = notifier(hub.clone());
    let reconciler =
        reconciler(&config, db.of(Class::Reconcile), Arc::clone(&services), notifier.clone(), metrics.clone());
    let asked = Arc::new(Notify::new());
    let retention =
        retention(&config, db.of(Class::Background), services.docker.clone(), metrics.clone(), Arc::clone(&asked));
    let background = Background::new(&db, Arc::clone(&services), notifier, metrics.clone())
        .with_sign_in(sign_in.clone(), config.auth.four_eyes)
        .with_retention(retention);
    let (limits, stream_permits) = crate::http::limits(&config.http, raise_open_files_limit());
    let state = ApiState {
        db: db.clone(),
        auth,
        hub,
        github: Arc::new(services.github.clone()),
        aws: services.aws.clone(),
        gates: services.gates.clone(),
        receivers: ReceiverAccess { clients: services.receivers.clone(), changed: background.receivers_changed() },
        pushes: PushAccess { sign_in, ..PushAccess::default() },
        manifests: manifests(&config),
        names: Arc::new(services.names.clone()),
        event_bus: services.settings.event_bus.as_str().into(),
        preflight: Arc::new(components::preflight_settings(&services)),
        builders: services.builders.clone(),
        first_step: FIRST_STEP,
        retry_step: RETRY_STEP,
        config: Arc::new(config.http.clone()),
        retention: Arc::new(config.retention.rules()),
        maintenance: asked,
        requests: half_of(Class::Api, config.database.database_max_connections),
        reports: half_of(Class::Reports, config.database.database_max_connections),
        replays: half_of(Class::Replay, config.database.database_max_connections)
            .yielding_to(metrics.reconcile.clone()),
        log: LogControl { own: telemetry::default_filter(), changed: background.log_filter_changed() },
        metrics,
        readiness: ReadinessCheck::default(),
        stream_permits,
        shutdown: stop.clone(),
    };
    let metrics_server = metrics_server(config.http.metrics_listen, limits, &state, &stop)?;
    let router = crate::http::router(state);
    let shutdown = SHUTDOWN_TIMEOUT.saturating_add(config.reconcile.build_drain);
    let (serving, reconciling) = (stop.clone(), stop.clone());
    let (fail, failed) = oneshot::channel();
    let mut tasks = vec![
        tokio::spawn(serve(listener, router, limits, acceptor, serving)),
        tokio::spawn(async move {
            match prepare(&db, config.database.migrate, needs_token.then_some(address), &services, &reconciling).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let _ = fail.send(error);
                    return;
                }
            }
            tokio::join!(reconciler.run(reconciling.clone()), background.run(reconciling));
        }),
    ];
    tasks.push(tokio::spawn(report_builders(for_report, stop.clone())));
    tasks.extend(metrics_server.into_iter().chain(tls.map(|tls| tokio::spawn(tls.watch(stop.clone())))));
    Ok(RunningServer { address, stop, tasks, failed, shutdown })
}

fn manifests(config: &Config) -> ManifestSite {
    ManifestSite { github: config.external.github_url.clone(), public: config.external.public_url.clone() }
}

/// Starts the server of the metrics, if they have a separate address.
fn metrics_server(
    address: Option<SocketAddr>,
    limits: Limits,
    state: &ApiState,
    stop: &CancellationToken,
) -> Result<Option<JoinHandle<()>>, AppError> {
    let Some(address) = address else { return Ok(None) };
    let listener = crate::http::listen(address).map_err(|source| AppError::MetricsListen { address, source })?;
    let limits = Limits { connections: METRICS_CONNECTIONS, ..limits };
    let router = crate::http::metrics_router(state.clone());
    Ok(Some(tokio::spawn(serve(listener, router, limits, None, stop.clone()))))
}

/// Serves until `stop`, and logs a failure.
async fn serve(
    listener: TcpListener,
    router: axum::Router,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    if let Err(error) = crate::http::serve(listener, router, limits, tls, stop).await {
        tracing::error!(%error, "API server failed");
    }
}

/// Waits for the schema, and for a token if `without_credentials` is the address of a server without other credentials; then checks the keys and
/// shares the build caches. Returns false when stopped before.
async fn prepare(
    db: &Db,
    migrate: bool,
    without_credentials: Option<SocketAddr>,
    services: &Services,
    stop: &CancellationToken,
) -> Result<bool, AppError> {
    if !wait_for_schema(db, migrate, stop).await? {
        return Ok(false);
    }
    if let Some(address) = without_credentials
        && !wait_for_token(db, stop).await
    {
        return Err(AppError::NoCredentials { address });
    }
    check_keys(db).await?;
    match db.cache_secret().await {
        Ok(Some(secret)) => services.builders.set_secret(&secret),
        Ok(None) => {
            tracing::warn!("table `installation` is empty, build caches are not shared with other replicas");
        }
        Err(error) => {
            tracing::warn!(%error, "cache secret cannot be read, build caches are not shared with other replicas");
        }
    }
    Ok(true)
}

/// Logs each builder once it responds, so that operators see at the start which builders are used and which limits they enforce.
async fn report_builders(services: Arc<Services>, stop: CancellationToken) {
    let reports = services.builders.iter().map(|builder| report_builder(builder, &stop));
    futures_util::future::join_all(reports).await;
}

async fn report_builder(builder: &Builder, stop: &CancellationToken) {
    let (name, mut warned) = (builder.name(), false);
    loop {
        match builder.active().await {
            Ok(active) => {
                let enforced_limits = active.enforced_limits();
                return tracing::info!(name, builder = active.describe(), enforced_limits, "builder ready");
            }
            Err(error) if !warned => {
                warned = true;
                tracing::warn!(name, %error, "builder unavailable, its builds wait");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(BUILDER_RETRY_AFTER) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Checks that secrets can be encrypted. An unavailable key service does not stop the server: operations that need it wait and report it.
async fn check_keys(db: &Db) -> Result<(), AppError> {
    match db.check_keys().await {
        Err(error @ KeyError::Service { transient: true, .. }) => {
            tracing::warn!(%error, "key service unavailable, secrets can be neither encrypted nor decrypted yet");
            Ok(())
        }
        Err(error) => Err(AppError::Keys { problem: error.to_string() }),
        Ok(()) => Ok(()),
    }
}

/// Limits the concurrent work of one caller to half of the class's connections, so that another caller finds a free one.
fn half_of(class: Class, max_connections: u32) -> CallerLimit {
    CallerLimit::new(class, (class.share(max_connections) as usize / 2).max(1))
}

/// Runs the server until `stop`, or until an error prevents it from working.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    let mut running = Box::pin(start(config, None)).await?;
    tokio::select! {
        () = stop.cancelled() => {}
        error = running.failed() => {
            running.stop().await;
            return Err(error);
        }
    }
    tracing::info!("stopping: closing streams and releasing deployments");
    running.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Raises the limit on open file descriptors to its maximum, since each reader of a stream needs one. Returns the limit.
fn raise_open_files_limit() -> u64 {
    const FALLBACK: u64 = 1_024;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return FALLBACK };
    // Some systems report a hard limit of a billion and then refuse it.
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}
