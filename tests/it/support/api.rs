//! The API as served in this process.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use panda::clients::aws::Aws;
use panda::clients::builder::Builder;
use panda::clients::builder_pool::{BuilderPool, PooledBuilder};
use panda::clients::docker::Docker;
use panda::clients::gates::GateClient;
use panda::clients::github::GitHub;
use panda::clients::receivers::ReceiverClients;
use panda::config::{AuthConfig, HttpConfig, RetentionConfig};
use panda::db::{Class, Db};
use panda::domain::app_manifest::ManifestSite;
use panda::domain::builder::BuilderChoice;
use panda::domain::connection::AwsKeys;
use panda::domain::destination::Destinations;
use panda::domain::names::Names;
use panda::domain::permission::SignIn;
use panda::domain::preflight::PreflightSettings;
use panda::http::middleware::caller_limit::CallerLimit;
use panda::http::{
    ApiState, Auth, AuthOptions, Hub, LogControl, PushAccess, ReceiverAccess, StreamPermits, Tls, limits, router, serve,
};
use panda::metrics::BuildMetrics;
use panda_testing::answer::Caller;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::environment;
use super::panda::Panda;

/// An address without a listener: the port is reserved and never bound.
pub const UNREACHABLE: &str = "http://127.0.0.1:1";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    http: HttpConfig,
    #[command(flatten)]
    auth: AuthConfig,
    #[command(flatten)]
    retention: RetentionConfig,
}

/// Addresses of the external services that the API calls.
#[derive(Clone)]
pub struct ExternalServices {
    pub github_api: String,
    /// Address of GitHub's pages.
    pub github_url: String,
    /// Address of Panda's page, where `{port}` is that of the API; none without one.
    pub public_url: Option<&'static str>,
    pub aws_endpoint: String,
    /// The controller's own keys.
    pub controller: AwsKeys,
    /// Settings on which checks of connections depend.
    pub preflight: PreflightSettings,
}

impl Default for ExternalServices {
    fn default() -> Self {
        let controller = AwsKeys {
            access_key_id: "AKIATESTCONTROLLER00".to_owned(),
            secret_access_key: SecretString::from("not-a-secret"),
            session_token: None,
        };
        let preflight = PreflightSettings { event_bus: "panda".to_owned(), ..PreflightSettings::default() };
        let unreachable = || UNREACHABLE.to_owned();
        Self {
            github_api: unreachable(),
            github_url: unreachable(),
            public_url: None,
            aws_endpoint: unreachable(),
            controller,
            preflight,
        }
    }
}

/// The API as served in this process.
pub struct Api {
    pub hub: Hub,
    stream_permits: StreamPermits,
    pub shutdown: CancellationToken,
    pub address: SocketAddr,
    caller: Caller,
    pub serving: JoinHandle<std::io::Result<()>>,
}

impl Api {
    /// Serves `db` with the default settings.
    pub async fn serve(db: &Db) -> Self {
        Panda::builder().database(db).api().await
    }

    /// Serves `db` with flags and chosen external services.
    pub async fn serve_with(db: &Db, external: &ExternalServices, flags: &[&str]) -> Self {
        Panda::builder().database(db).external(external).flags(flags).api().await
    }

    pub(super) async fn start(db: &Db, external: &ExternalServices, flags: &[String]) -> Self {
        let shutdown = CancellationToken::new();
        let Cli { http: config, auth, retention } =
            Cli::try_parse_from([&["panda".to_owned()], flags].concat()).unwrap();
        let oidc = auth.oidc_file.clone().map(|path| {
            let issuers = panda::domain::oidc_claims::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
            panda::http::auth::oidc::Verifier::new(issuers).unwrap()
        });
        let admin = auth
            .admin_token_file
            .as_ref()
            .map(|path| panda::domain::token::SecretHash::of(std::fs::read_to_string(path).unwrap().trim()));
        let sign_in = SignIn {
            required: auth.is_required(config.listen, false),
            admin: admin.as_ref().map(panda::domain::token::SecretHash::fingerprint),
            issuers: auth
                .oidc_file
                .as_ref()
                .map_or_else(Vec::new, |path| {
                    panda::domain::oidc_claims::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
                })
                .into(),
        };
        let options = AuthOptions { admin, session: auth.session, four_eyes: auth.four_eyes, oidc };
        let auth = match (auth.is_required(config.listen, false), auth.is_off()) {
            (true, _) => Auth::required(db.clone(), options, &shutdown),
            (false, true) => Auth::off(),
            (false, false) => Auth::local(),
        };
        let metrics = panda::metrics::Metrics::default();
        let hub = Hub::start(db.of(Class::Live), metrics.clone(), &shutdown);
        let timeout = Duration::from_secs(10);
        let (limits, stream_permits) = limits(&config, 10_000);
        let tls = config.tls().map(|files| Tls::load(files).unwrap());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor().unwrap());
        if let Some(tls) = tls {
            tokio::spawn(tls.watch(shutdown.clone()));
        }
        let github = GitHub::new(external.github_api.parse().unwrap(), timeout).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let public = external.public_url.map(|url| url.replace("{port}", &address.port().to_string()).parse().unwrap());
        let state = ApiState {
            db: db.clone(),
            auth,
            hub: hub.clone(),
            github: Arc::new(github.clone()),
            aws: aws(external, &config.controller_roles).await,
            gates: GateClient::new(timeout, Destinations::default()).unwrap(),
            receivers: ReceiverAccess {
                clients: ReceiverClients::new(Destinations::default(), github, None).unwrap(),
                changed: Arc::default(),
            },
            pushes: PushAccess { sign_in, ..PushAccess::default() },
            manifests: ManifestSite { github: external.github_url.parse().unwrap(), public },
            names: Arc::new(Names::default()),
            event_bus: external.preflight.event_bus.as_str().into(),
            preflight: Arc::new(external.preflight.clone()),
            builders: BuilderPool::new(vec![PooledBuilder::new(builder(), None, 1)]),
            first_step: "ensure_event_rule",
            retry_step: "resume",
            metrics,
            config: Arc::new(config),
            retention: Arc::new(retention.rules()),
            maintenance: Arc::default(),
            requests: CallerLimit::new(Class::Api, 2),
            reports: CallerLimit::new(Class::Reports, 1),
            replays: CallerLimit::new(Class::Replay, 1),
            readiness: panda::http::readiness::ReadinessCheck::default(),
            log: LogControl { own: "info", changed: Arc::default() },
            stream_permits: stream_permits.clone(),
            shutdown: shutdown.clone(),
        };
        let serving = tokio::spawn(serve(listener, router(state), limits, acceptor, shutdown.clone()));
        let caller = Caller::of(format!("http://{address}"));
        Self { hub, stream_permits, shutdown, address, caller, serving }
    }

    /// Number of open event streams.
    pub fn open_streams(&self) -> usize {
        self.stream_permits.in_use()
    }
}

impl Deref for Api {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The builder of the engine at `DOCKER_HOST`.
fn builder() -> Builder {
    let docker = Docker::connect(None).unwrap();
    Builder::new("default", docker, None, BuilderChoice::Auto, BuildMetrics::default())
}

/// The AWS client of an API that allows these roles of the controller's account.
pub async fn aws(external: &ExternalServices, controller_roles: &[String]) -> Aws {
    let (endpoint, keys) = (external.aws_endpoint.parse().unwrap(), external.controller.clone());
    environment::aws(Some(endpoint), Some("ap-northeast-2"), keys, Duration::from_secs(10), controller_roles).await
}
