//! Wiring and shutdown: the only place that knows every room.

mod parts;
mod schema;
mod sign_in;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientError;
use crate::clients::builder::Builder;
use crate::clients::github::GitHub;
use crate::config::Config;
use crate::db::{Class, Db, DbError};
use crate::domain::connection::AwsKeys;
use crate::domain::keyring::KeyError;
use crate::http::caller_limit::CallerLimit;
use crate::http::{ApiState, Hub, LogControl, Tls, TlsError};
use crate::metrics::Metrics;
use crate::reconcile::Notifier;
use crate::steps::{FIRST_STEP, RETRY_STEP, Services};
use crate::telemetry;
pub use parts::{aws, command_database, database, keyring, maintenance, reconciler, replica_name, services};
use schema::wait_for_schema;
use sign_in::{authentication, wait_for_token};

/// Why Panda did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The keys that seal secrets.
    #[error("{problem}; `panda keys generate --file FILE` makes a key, and --key-file (PANDA_KEY_FILE) names its file")]
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
         --admin-token-file (PANDA_ADMIN_TOKEN_FILE) or --oidc-file (PANDA_OIDC_FILE); --no-auth lets everybody who reaches that address do everything"
    )]
    NobodyCanSignIn {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The file with builders.
    #[error("--builders (PANDA_BUILDERS): {problem}; docs/builds.md has an example")]
    Builders {
        /// What is wrong.
        problem: String,
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

/// Time between two looks for a builder that does not answer.
const BUILDER_RETRY: Duration = Duration::from_secs(10);

/// How long everything may take to end.
const LONGEST_STOP: Duration = Duration::from_secs(5);

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
    let listener = crate::http::listen(address).map_err(|source| AppError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| AppError::Listen { address, source })?;
    let metrics = Metrics::default();
    let services = Arc::new(Box::pin(services(&config, controller, &metrics)).await?);
    let db = database(&config, &services.aws)?;
    db.set_schema_pending(Some("the database is not checked yet".to_owned()));
    if services.aws.controller_region().is_none() {
        tracing::warn!(
            "no AWS region for the controller's account: set --controller-region or AWS_REGION, or deployments fail"
        );
    }
    let reported = Arc::clone(&services);
    let stop = CancellationToken::new();
    let (auth, sign_in, needs_token) = authentication(&config, db.clone(), address, &stop)?;
    let hub = Hub::start(db.of(Class::Live), metrics.clone(), &stop);
    let nudged = hub.clone();
    let notifier = Notifier::new(move |id| nudged.nudge(id));
    let reconciler = reconciler(&config, db.of(Class::Reconcile), Arc::clone(&services), notifier, metrics.clone())
        .with_sign_in(sign_in);
    let asked = Arc::new(Notify::new());
    let maintenance =
        maintenance(&config, db.of(Class::Background), services.docker.clone(), metrics.clone(), Arc::clone(&asked));
    let (limits, seats) = crate::http::limits(&config.http, open_files());
    let router = crate::http::router(ApiState {
        db: db.clone(),
        auth,
        hub,
        github: Arc::new(GitHub::new(config.outside.github_api.clone(), config.outside.aws.aws_timeout)?),
        aws: services.aws.clone(),
        names: Arc::new(services.names.clone()),
        first_step: FIRST_STEP,
        retry_step: RETRY_STEP,
        config: Arc::new(config.http.clone()),
        retention: Arc::new(config.retention.rules()),
        maintenance: asked,
        reports: CallerLimit::new(reports_of_caller(config.database.database_max_connections)),
        log: LogControl { own: telemetry::own_filter(), asked: reconciler.log_asked() },
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
            match wait_for_schema(&db, config.database.migrate, &reconciling).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(unusable) => {
                    let _ = refuse.send(unusable.into());
                    return;
                }
            }
            if needs_token && !wait_for_token(&db, &reconciling).await {
                let _ = refuse.send(AppError::NobodyCanSignIn { address });
                return;
            }
            if let Err(error) = check_keys(&db).await {
                let _ = refuse.send(error);
                return;
            }
            match db.cache_secret().await {
                Ok(Some(secret)) => services.builders.set_secret(&secret),
                Ok(None) => tracing::warn!("no row in installation: builds share caches with this process alone"),
                Err(error) => {
                    tracing::warn!(%error, "cache secret unreadable: builds share caches with this process alone");
                }
            }
            tokio::join!(reconciler.run(reconciling.clone()), maintenance.run(reconciling));
        }),
    ];
    tasks.push(tokio::spawn(report_builders(reported, stop.clone())));
    tasks.extend(tls.map(|tls| tokio::spawn(tls.watch(stop.clone()))));
    Ok(Running { address, stop, tasks, refused })
}

/// Logs what builds, once it answers: operators see at the start which builders are used and which limits hold.
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
                tracing::warn!(name, %error, "builder unavailable; its builds wait");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(BUILDER_RETRY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Whether secrets can be sealed. A key service that is away is no reason to end: what needs it waits, and says so.
async fn check_keys(db: &Db) -> Result<(), AppError> {
    match db.check_keys().await {
        Err(error @ KeyError::Service { passing: true, .. }) => {
            tracing::warn!(%error, "secrets can be neither sealed nor opened yet");
            Ok(())
        }
        Err(error) => Err(AppError::Keys { problem: error.to_string() }),
        Ok(()) => Ok(()),
    }
}

/// Reports that one caller may have under way: half of what there may be, so that another caller finds a connection.
fn reports_of_caller(max_connections: u32) -> usize {
    (Class::Reports.share(max_connections) as usize / 2).max(1)
}

/// Runs Panda until `stop`.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AppError> {
    let mut running = Box::pin(start(config, None)).await?;
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
