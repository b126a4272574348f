//! Wiring and shutdown: the only place that knows every room.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientError;
use crate::clients::aws::{Aws, AwsSettings};
use crate::clients::docker::{BuildLimits, Docker};
use crate::clients::git::{Git, GitLimits};
use crate::clients::github::GitHub;
use crate::clients::probe::Probe;
use crate::config::{Config, DatabaseConfig};
use crate::db::{Db, DbError, DbOptions};
use crate::domain::claims;
use crate::domain::connection::AwsKeys;
use crate::domain::destination::Destinations;
use crate::domain::keyring::Keyring;
use crate::domain::names::Names;
use crate::domain::token::SecretHash;
use crate::http::oidc::Verifier;
use crate::http::{ApiState, Auth, AuthOptions, Hub, Tls, TlsError};
use crate::metrics::Metrics;
use crate::reconcile::{Notifier, Reconciler, ReconcilerOptions};
use crate::steps::{FIRST_STEP, RETRY_STEP, Services, Settings};

/// Why Panda did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The keys that seal secrets.
    #[error("{problem}; `panda keys generate --file FILE` makes a key, and --key-file (PANDA_KEY_FILE) names the file")]
    Keys {
        /// What is wrong.
        problem: String,
    },
    /// The admin token.
    #[error("--admin-token-file (PANDA_ADMIN_TOKEN_FILE): {problem}")]
    AdminToken {
        /// What is wrong.
        problem: String,
    },
    /// Nobody could use the API.
    #[error(
        "nobody could sign in at {address}: there is no API token yet. Make one with `panda token create --name NAME --role admin`, or give \
         --admin-token-file (PANDA_ADMIN_TOKEN_FILE); --no-auth lets everybody who reaches that address do everything"
    )]
    NobodyCanSignIn {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The issuers of OpenID Connect tokens.
    #[error("{problem}; --oidc-file (PANDA_OIDC_FILE) names the file, and docs/security.md has an example")]
    Issuers {
        /// What is wrong.
        problem: String,
    },
    /// A client of the outside could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The certificate.
    #[error("{0}; --tls-cert (PANDA_TLS_CERT) and --tls-key (PANDA_TLS_KEY) name the files")]
    Tls(#[from] TlsError),
    /// The API's address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another address with --listen (PANDA_LISTEN)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
}

/// How long everything may take to end.
const LONGEST_STOP: Duration = Duration::from_secs(5);

/// Shorter ones could be found by trying.
const SHORTEST_ADMIN_TOKEN: usize = 32;

/// Between two looks at a database that is away or not migrated.
const SCHEMA_RETRY: Duration = Duration::from_secs(1);

/// A running Panda.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    refused: oneshot::Receiver<AppError>,
}

impl Running {
    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why it cannot go on, should that be found out; never ends otherwise.
    pub async fn refused(&mut self) -> AppError {
        match (&mut self.refused).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends streams, lets short steps end, gives deployments back; at most a few seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = futures_util::future::join_all(self.tasks);
        let Ok(ended) = tokio::time::timeout(LONGEST_STOP, ended).await else {
            return tracing::warn!("some parts did not end in time");
        };
        for error in ended.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "a part broke");
        }
    }
}

/// Starts Panda. Returns once it listens: a database that is away is waited for, and readiness says so meanwhile.
pub async fn start(config: Config, controller: Option<AwsKeys>) -> Result<Running, AppError> {
    let tls = config.http.tls().map(Tls::load).transpose()?;
    let acceptor = tls.as_ref().map(Tls::acceptor).transpose()?;
    let address = config.http.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| AppError::Listen { address, source })?;
    let db = database(&config)?;
    let services = Arc::new(services(&config, controller).await?);
    if services.aws.controller_region().is_none() {
        tracing::warn!(
            "no AWS region for the controller's account: set --controller-region or AWS_REGION, or deployments fail"
        );
    }
    let stop = CancellationToken::new();
    let (auth, needs_token) = authentication(&config, db.clone(), address, &stop)?;
    let metrics = Metrics::default();
    let hub = Hub::start(db.clone(), metrics.clone(), &stop);
    let nudged = hub.clone();
    let notifier = Notifier::new(move |id| nudged.nudge(id));
    let reconciler = reconciler(&config, db.clone(), Arc::clone(&services), notifier, metrics.clone());
    let (limits, seats) = crate::http::limits(&config.http, open_files());
    let router = crate::http::router(ApiState {
        db: db.clone(),
        auth,
        hub,
        github: Arc::new(GitHub::new(config.outside.github_api.clone(), config.outside.aws_timeout)?),
        aws: services.aws.clone(),
        names: Arc::new(services.names.clone()),
        first_step: FIRST_STEP,
        retry_step: RETRY_STEP,
        config: Arc::new(config.http.clone()),
        metrics,
        seats,
        shutdown: stop.clone(),
    });
    let (serving, reconciling) = (stop.clone(), stop.clone());
    let (refuse, refused) = oneshot::channel();
    let mut tasks = vec![
        tokio::spawn(async move {
            if let Err(error) = crate::http::serve(listener, router, limits, acceptor, serving).await {
                tracing::error!(%error, "the API ended");
            }
        }),
        tokio::spawn(async move {
            if !wait_for_schema(&db, config.database.migrate, &reconciling).await {
                return;
            }
            if needs_token && !wait_for_token(&db, &reconciling).await {
                let _ = refuse.send(AppError::NobodyCanSignIn { address });
                return;
            }
            reconciler.run(reconciling).await;
        }),
    ];
    tasks.extend(tls.map(|tls| tokio::spawn(tls.watch(stop.clone()))));
    Ok(Running { address, stop, tasks, refused })
}

/// Runs Panda until `stop`.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    let mut running = start(config, None).await?;
    tokio::select! {
        () = stop.cancelled() => {}
        refused = running.refused() => {
            running.stop().await;
            return Err(refused);
        }
    }
    tracing::info!("stopping: streams end, deployments are given back");
    running.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Who may use the API at `address`; and whether the database must have a token, because nobody could sign in otherwise. At loopback it may
/// get one later.
fn authentication(
    config: &Config,
    db: Db,
    address: SocketAddr,
    stop: &CancellationToken,
) -> Result<(Auth, bool), AppError> {
    let admin = config.auth.admin_token_file.as_deref().map(admin_token).transpose()?;
    let proxied = !config.http.trusted_proxies.is_empty();
    if config.auth.is_required(address, proxied) {
        let oidc = config.auth.oidc_file.as_deref().map(issuers).transpose()?;
        let needs_token = admin.is_none() && oidc.is_none() && !address.ip().is_loopback();
        let options =
            AuthOptions { admin, session: config.auth.session, another_approves: config.auth.another_approves, oidc };
        return Ok((Auth::required(db, options, stop), needs_token));
    }
    if config.auth.is_off() {
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "authentication is off: everybody who reaches this address may do everything");
        }
        return Ok((Auth::off(), false));
    }
    Ok((Auth::local(), false))
}

/// The issuers in this file.
fn issuers(path: &Path) -> Result<Verifier, AppError> {
    let refused = |problem: String| AppError::Issuers { problem: format!("{}: {problem}", path.display()) };
    let text = std::fs::read_to_string(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    Ok(Verifier::new(claims::parse(&text).map_err(refused)?)?)
}

/// The hash of the token in this file.
fn admin_token(path: &Path) -> Result<SecretHash, AppError> {
    let refused = |problem: String| AppError::AdminToken { problem: format!("{}: {problem}", path.display()) };
    let text = std::fs::read_to_string(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let text = SecretString::from(text);
    let token = text.expose_secret().trim();
    if token.len() < SHORTEST_ADMIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let rule = format!("must hold one token of {SHORTEST_ADMIN_TOKEN} visible ASCII characters or more");
        return Err(refused(format!("{rule}, such as `openssl rand -hex 32` prints")));
    }
    Ok(SecretHash::of(token))
}

/// Whether there is a token with which somebody can sign in, once the database says so. True when stopped before.
async fn wait_for_token(db: &Db, stop: &CancellationToken) -> bool {
    loop {
        match db.has_usable_token().await {
            Ok(there) => return there,
            Err(error) => tracing::warn!(%error, "whether there are API tokens cannot be told yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(SCHEMA_RETRY) => {}
            () = stop.cancelled() => return true,
        }
    }
}

/// How many descriptors the process may have: as many as it can allow itself, since each reader of a stream needs one.
fn open_files() -> u64 {
    const CAUTIOUS: u64 = 1_024;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return CAUTIOUS };
    // Some systems allow a billion and then refuse it.
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return hard;
    }
    soft
}

/// Waits until the schema is the one that this version needs, bringing it there if told to. False when stopped before.
async fn wait_for_schema(db: &Db, migrate: bool, stop: &CancellationToken) -> bool {
    let mut said = String::new();
    loop {
        let missing = match schema_is_there(db, migrate).await {
            Ok(true) => return true,
            Ok(false) => {
                "the schema is older than this version: run `panda migrate`, or start with --migrate".to_owned()
            }
            Err(error) => error.to_string(),
        };
        // Once for each reason: a database that is away for an hour is one line, not 3,600.
        if said != missing {
            tracing::warn!(reason = missing, "deployments wait for the database");
            said = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(SCHEMA_RETRY) => {}
            () = stop.cancelled() => return false,
        }
    }
}

async fn schema_is_there(db: &Db, migrate: bool) -> Result<bool, DbError> {
    if migrate {
        db.migrate().await?;
    }
    if !db.is_migrated().await? {
        return Ok(false);
    }
    if db.mend_event_order().await? {
        tracing::warn!("the events were restored from another Postgres cluster; new ones are put behind them");
    }
    match db.seal_clear_secrets().await? {
        0 => {}
        sealed => tracing::info!(sealed, "secrets from before there was a key are sealed now"),
    }
    Ok(true)
}

/// The keys of `config`, from a file or from `PANDA_KEYS`.
pub fn keyring(config: &DatabaseConfig) -> Result<Keyring, AppError> {
    let (text, from) = match &config.key_file {
        Some(path) => {
            let unreadable = |error| AppError::Keys { problem: format!("{} cannot be read: {error}", path.display()) };
            (std::fs::read_to_string(path).map_err(unreadable)?, path.display().to_string())
        }
        None => (std::env::var("PANDA_KEYS").unwrap_or_default(), "PANDA_KEYS".to_owned()),
    };
    Keyring::parse(&SecretString::from(text)).map_err(|error| AppError::Keys { problem: format!("{from}: {error}") })
}

/// The database of `config`; connects when first used.
pub fn database(config: &Config) -> Result<Db, AppError> {
    let database = &config.database;
    Ok(Db::new(&DbOptions {
        url: database.database_url.clone(),
        max_connections: database.database_max_connections,
        acquire_timeout: database.database_acquire_timeout,
        keyring: Some(Arc::new(keyring(database)?)),
    })?)
}

/// Clients and settings of `config`. `controller` are the controller's own AWS keys, for the sandbox; the SDK's default chain
/// when absent.
pub async fn services(config: &Config, controller: Option<AwsKeys>) -> Result<Services, AppError> {
    let (outside, times) = (&config.outside, &config.reconcile);
    let aws = Aws::new(AwsSettings {
        endpoint_url: outside.aws_endpoint.clone(),
        codedeploy_endpoint_url: outside.codedeploy_endpoint.clone(),
        controller_region: outside.controller_region.clone(),
        controller_credentials: controller,
        operation_timeout: outside.aws_timeout,
    })
    .await;
    let destinations = Destinations::new(outside.health_allow.clone(), outside.health_refuse.clone());
    Ok(Services {
        aws,
        docker: Docker::connect(outside.docker_host.as_deref())?,
        git: Git::new(GitLimits {
            max_bytes: usize::try_from(outside.source_max_bytes).unwrap_or(usize::MAX),
            max_files: usize::try_from(outside.source_max_files).unwrap_or(usize::MAX),
            ..GitLimits::default()
        }),
        probe: Probe::new(times.health_timeout, destinations)?,
        names: Names::from(&config.names),
        settings: Settings {
            event_bus: outside.event_bus.clone(),
            rule_target_role_arn: outside.rule_target_role_arn.clone(),
            github_url: outside.github_url.clone(),
            workspace_dir: outside.workspace_dir.clone(),
            build_network: outside.build_network.clone(),
            build_limits: BuildLimits {
                memory_bytes: Some(u64::from(outside.build_memory) << 20).filter(|bytes| *bytes > 0),
                cpu_millis: outside.build_cpus,
                output_bytes: usize::try_from(outside.build_max_output).unwrap_or(usize::MAX),
                image_bytes: outside.image_max_bytes,
            },
            poll_interval: times.poll_interval,
            follow_limit: times.follow_limit,
            execution_wait: times.execution_wait,
            build_limit: times.build_limit,
            switch_limit: times.switch_limit,
            step_limit: times.step_limit,
            deployment_limit: times.deployment_limit,
            health_interval: times.health_interval,
        },
    })
}

/// The reconciler of `config`.
pub fn reconciler(
    config: &Config,
    db: Db,
    services: Arc<Services>,
    notifier: Notifier,
    metrics: Metrics,
) -> Reconciler {
    let times = &config.reconcile;
    let host =
        nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "unknown".into());
    let options = ReconcilerOptions {
        name: format!("{host}/{}", std::process::id()),
        lease: times.lease,
        max_deployments: usize::try_from(times.max_deployments).unwrap_or(usize::MAX),
        max_builds: usize::try_from(times.max_builds).unwrap_or(usize::MAX),
    };
    Reconciler::new(db, services, notifier, metrics, options)
}
