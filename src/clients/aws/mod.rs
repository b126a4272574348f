//! AWS clients for two accounts: the user's, with the connection's credentials, and the controller's, with the default credential chain.
//!
//! Each service has one file. Clients are cheap to clone and share one connection pool. The clients of a user's account are kept per connection in a
//! small cache, so that role sessions and TLS connections survive between polls.

mod budget;
mod cloudwatch;
mod codedeploy;
mod codedeploy_info;
mod credentials;
mod ecr;
mod ecs;
mod ecs_info;
mod elb;
mod error;
mod eventbridge;
#[cfg(feature = "failpoints")]
mod failpoints;
mod iam;
mod kms;
mod observer;
mod rds;
mod response_limit;
mod roles;
mod rollout;
mod secrets;
mod sfn;
mod sfn_events;
mod shared_looks;
mod sqs;
mod sts;
mod transport;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::{self, region::ImdsRegionProvider};
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_sts::config::SharedHttpClient;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::OnceCell;
use url::Url;

pub use budget::{BudgetWaits, Priority, with_priority};
pub use cloudwatch::{Alarm, AlarmState, Alarms};
pub use codedeploy::{CodeDeploy, DeploymentGroup, MAX_BATCH};
pub use codedeploy_info::{CodeDeployStatus, CodeDeployment, EcsTarget, LifecycleEvent};
pub use ecr::{Ecr, EcrImage, EcrRepository, RegistryLogin};
pub use ecs::{Ecs, ListedDeployment, MAX_SERVICE_DEPLOYMENTS};
pub use ecs_info::ServiceDeployment;
pub use elb::LoadBalancers;
pub use eventbridge::{BusDescription, EventBus, EventRules, ListedRule, MAX_LISTED, RuleDescription, RuleTarget};
pub use iam::Iam;
pub use kms::KmsKey;
pub use rds::RdsTokens;
pub use roles::{RoleRefusal, Trust};
pub use rollout::{Observed, Rollout, batch_size};
pub use secrets::SecretsManager;
pub use sfn::{Execution, ExecutionStatus, Executions, StateMachine};
pub use sqs::{QueueMessage, StatusQueue};
pub use sts::{CallerIdentity, Sts};

use crate::clients::ClientError;
use crate::domain::api_budget::BudgetStore;
use crate::domain::api_quota::ApiQuotas;
use crate::domain::aws_role::RoleArn;
use crate::domain::connection::{AwsConnection, AwsCredentials, AwsKeys};
use crate::metrics::AwsCalls;
use budget::{Budgets, ControllerAccount, Scope};
use observer::CallObserver;
use roles::RoleGuard;

/// Number of client sets cached for user accounts; the least recently used one is evicted and recreated when needed.
const MAX_CACHED_USERS: usize = 64;

/// Attempts of one SDK call, the first included. Steps wait and retry at a larger time scale.
const MAX_ATTEMPTS: u32 = 3;

/// Time limit for opening a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit for asking the machine's metadata service for the region; where the service exists, it answers within a few milliseconds.
const METADATA_TIMEOUT: Duration = Duration::from_millis(200);

/// Creates a client of a service whose calls are traced and counted.
macro_rules! client {
    ($sdk:ident, $config:expr, $observe:expr) => {
        $sdk::Client::from_conf($sdk::config::Builder::from($config).interceptor($observe.clone()).build())
    };
}
use client;

/// Endpoints, credentials and limits for AWS.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// Endpoint for all services (the sandbox); `None` means AWS itself.
    pub endpoint_url: Option<Url>,
    /// Endpoint for `CodeDeploy`, if it differs from the others.
    pub codedeploy_endpoint_url: Option<Url>,
    /// Region of the controller; `None` means the default chain decides.
    pub controller_region: Option<String>,
    /// Keys of the controller, for the sandbox only; `None` means the SDK's default credential chain.
    pub controller_credentials: Option<AwsKeys>,
    /// Time limit of one call, its retries included.
    pub operation_timeout: Duration,
    /// ARNs of roles in the controller's own account that users may connect.
    pub controller_roles: Vec<String>,
    /// Quotas of AWS that calls respect.
    pub quotas: ApiQuotas,
    /// Metrics that count the calls.
    pub calls: AwsCalls,
}

/// Factory and cache for the clients of both accounts.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

struct Inner {
    settings: AwsSettings,
    /// Configuration with the controller's credentials and without budgets.
    base: SdkConfig,
    http: SharedHttpClient,
    budgets: Budgets,
    /// The controller's account, whose quotas calls with its credentials use.
    account: ControllerAccount,
    controller: ControllerAws,
    guard: RoleGuard,
    /// Ordered by last use, least recently used first.
    users: Mutex<VecDeque<(UserKey, UserAws)>>,
}

#[derive(PartialEq, Eq)]
struct UserKey {
    connection: String,
    account: Option<String>,
    region: String,
    /// Hash of the credentials: a connection whose credentials were renewed must not use clients with the old ones.
    credentials: [u8; 32],
}

/// Clients for a user's account.
#[derive(Clone)]
pub struct UserAws {
    /// Identity of the user's credentials.
    pub sts: Sts,
    /// Rules on the account's default event bus.
    pub rules: EventRules,
    /// Roles of the account.
    pub iam: Iam,
    /// Image registry of the account.
    pub ecr: Ecr,
    /// Blue/green deployments of the account.
    pub codedeploy: CodeDeploy,
    /// Service deployments of the account's ECS.
    pub ecs: Ecs,
    /// Load balancers of the account.
    pub load_balancers: LoadBalancers,
    /// Alarms of the account's CloudWatch.
    pub alarms: Alarms,
}

/// Clients for the controller's account.
#[derive(Clone)]
pub struct ControllerAws {
    /// Identity of the controller's credentials.
    pub sts: Sts,
    /// Event bus that receives the users' push events.
    pub bus: EventBus,
    /// Secrets into which pipelines write their execution ARN.
    pub secrets: SecretsManager,
    /// Step Functions executions of the pipelines.
    pub executions: Executions,
    /// Policies of the controller's own identity.
    pub iam: Iam,
}

impl Aws {
    /// Determines the region by the default chain and creates the controller's clients. No request is sent, except possibly to the machine's metadata
    /// service for the region.
    pub async fn new(settings: AwsSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(settings.operation_timeout)
            .build();
        let http = transport::shared();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(timeouts)
            // One cache for all clients of the account; otherwise each client would assume the role separately.
            .identity_cache(IdentityCache::lazy().build());
        if let Some(endpoint) = &settings.endpoint_url {
            loader = loader.endpoint_url(without_trailing_slash(endpoint));
        }
        loader = match &settings.controller_region {
            Some(region) => loader.region(Region::new(region.clone())),
            None => loader.region(region_of_machine()),
        };
        if let Some(keys) = &settings.controller_credentials {
            loader = loader.credentials_provider(credentials::of_keys(keys));
        }
        let base = loader.load().await;
        let budgets = Budgets::new(settings.quotas.clone(), settings.calls.clone());
        // Its own calls have no budget: the budgets of the account begin with its id.
        let sts = Sts::new(&base, &CallObserver::new(settings.calls.clone(), None));
        let identity = Arc::<OnceCell<CallerIdentity>>::default();
        let (asked, known) = (sts.clone(), Arc::clone(&identity));
        let account = ControllerAccount::new(move || {
            let (sts, known) = (asked.clone(), Arc::clone(&known));
            Box::pin(async move {
                let asked = known.get_or_try_init(|| sts.caller_identity()).await;
                asked.ok().map(|identity| identity.account_id.clone())
            })
        });
        let region = base.region().map(|region| region.as_ref().to_owned()).unwrap_or_default();
        let scope = Scope::controller(&budgets, account.clone(), &region);
        let config = with_budget(&base, &http, &scope, settings.operation_timeout);
        let observe = CallObserver::new(settings.calls.clone(), Some(scope.clone()));
        let controller = ControllerAws {
            sts: Sts::new(&config, &observe),
            bus: EventBus::new(&config, &observe),
            secrets: SecretsManager::new(&config, &observe),
            executions: Executions::new(&config, &observe, scope),
            iam: Iam::new(&config, &observe),
        };
        let roles = settings.controller_roles.clone();
        let guard = RoleGuard::new(sts, identity, roles);
        let users = Mutex::default();
        Self { inner: Arc::new(Inner { settings, base, http, budgets, account, controller, guard, users }) }
    }

    /// Shares the budgets of calls with other replicas from now on; before, this process respects the quotas as if it were alone.
    pub fn share_budgets(&self, store: Arc<dyn BudgetStore>) {
        self.inner.budgets.share(store);
    }

    /// Returns the clients for a stored connection in `region`, whose calls use the quotas of the connection's account.
    pub fn user_of(&self, connection: &AwsConnection, region: &str) -> UserAws {
        self.cached_user(&connection.id, Some(&connection.account_id), region, &connection.credentials)
    }

    /// Returns the clients for the connection `cache_key` in `region`: the same set as long as it stays in the cache. Calls with keys, whose account is not
    /// known, have no budget.
    pub fn user(&self, cache_key: &str, region: &str, credentials: &AwsCredentials) -> UserAws {
        self.cached_user(cache_key, account_of(credentials).as_deref(), region, credentials)
    }

    fn cached_user(
        &self,
        cache_key: &str,
        account: Option<&str>,
        region: &str,
        credentials: &AwsCredentials,
    ) -> UserAws {
        let key = UserKey {
            connection: cache_key.to_owned(),
            account: account.map(str::to_owned),
            region: region.to_owned(),
            credentials: credentials::fingerprint(credentials),
        };
        // No change under this lock can be left half-done, so a panic of another holder is harmless.
        let mut users = self.inner.users.lock();
        let found = users.iter().position(|(known, _)| *known == key).and_then(|at| users.remove(at));
        let (key, user) = found.unwrap_or_else(|| (key, self.new_user(account, region, credentials)));
        users.push_back((key, user.clone()));
        if users.len() > MAX_CACHED_USERS {
            users.pop_front();
        }
        user
    }

    /// Asks STS in `region` for the identity of a user's credentials; caches nothing.
    pub async fn identity(&self, region: &str, credentials: &AwsCredentials) -> Result<CallerIdentity, ClientError> {
        self.new_user(account_of(credentials).as_deref(), region, credentials).sts.caller_identity().await
    }

    /// Checks that Panda may assume this user role; see [`RoleRefusal`].
    pub async fn check_role(&self, role_arn: &str) -> Result<(), RoleRefusal> {
        self.inner.guard.check(role_arn).await
    }

    /// Checks with the controller's credentials, in `region`, that the role requires `external_id`.
    pub async fn role_trust(
        &self,
        region: &str,
        role_arn: &str,
        external_id: &SecretString,
    ) -> Result<Trust, ClientError> {
        let (config, observe) = self.controller_in(region);
        let sts = Sts::new(&config, &observe);
        // Boxed: three concurrent calls take 18 KiB.
        Box::pin(roles::trust(&sts, role_arn, external_id)).await
    }

    /// Returns the id of the controller's account; `None` until a role has been checked.
    pub fn controller_account(&self) -> Option<&str> {
        self.inner.guard.account()
    }

    /// Returns the clients for the controller's own account.
    pub fn controller(&self) -> &ControllerAws {
        &self.inner.controller
    }

    /// Creates a KMS key client that uses the controller's credentials, in the region of the key's ARN.
    pub fn kms_key(&self, arn: &str) -> KmsKey {
        let region = arn.split(':').nth(3).unwrap_or_default();
        let (config, observe) = self.controller_in(region);
        KmsKey::new(&config, &observe, arn)
    }

    /// Creates a client for a queue of the controller's account, in the region that its address names, `sqs.REGION.amazonaws.com`, or else the
    /// controller's.
    pub fn status_queue(&self, url: &Url) -> StatusQueue {
        let named =
            url.host_str().and_then(|host| host.strip_prefix("sqs.")?.split_once(".amazonaws.")?.0.split('.').next());
        let region = named.or(self.controller_region()).unwrap_or_default();
        let (config, observe) = self.controller_in(region);
        StatusQueue::new(&config, &observe, url, self.inner.settings.operation_timeout)
    }

    /// Creates a generator of RDS tokens, signed with the controller's credentials.
    pub fn rds_tokens(&self, region: Option<String>) -> RdsTokens {
        RdsTokens::new(&self.inner.base, region)
    }

    /// Returns the controller's region, if the settings or the default chain name one.
    pub fn controller_region(&self) -> Option<&str> {
        self.inner.base.region().map(AsRef::as_ref)
    }

    /// Returns the configuration with the controller's credentials in another region, and the observer of its calls.
    fn controller_in(&self, region: &str) -> (SdkConfig, CallObserver) {
        let inner = &self.inner;
        let config = inner.base.to_builder().region(Region::new(region.to_owned())).build();
        let scope = Scope::controller(&inner.budgets, inner.account.clone(), region);
        let config = with_budget(&config, &inner.http, &scope, inner.settings.operation_timeout);
        (config, CallObserver::new(inner.settings.calls.clone(), Some(scope)))
    }

    fn new_user(&self, account: Option<&str>, region: &str, credentials: &AwsCredentials) -> UserAws {
        let inner = &self.inner;
        // A role is assumed with the controller's credentials, and so within the controller's quotas.
        let (base, _) = self.controller_in(region);
        let scope = Scope::user(&inner.budgets, account, region);
        let config = with_budget(&base, &inner.http, &scope, inner.settings.operation_timeout)
            .to_builder()
            .credentials_provider(credentials::provider(&base, &inner.guard, region, credentials))
            .identity_cache(IdentityCache::lazy().build())
            .build();
        let observe = &CallObserver::new(inner.settings.calls.clone(), Some(scope));
        let codedeploy = match &self.inner.settings.codedeploy_endpoint_url {
            Some(url) => config.to_builder().endpoint_url(without_trailing_slash(url)).build(),
            None => config.clone(),
        };
        UserAws {
            sts: Sts::new(&config, observe),
            rules: EventRules::new(&config, observe),
            iam: Iam::new(&config, observe),
            ecr: Ecr::new(&config, observe),
            // A server of CodeDeploy at a separate address has the listeners that it moves as well.
            load_balancers: LoadBalancers::new(&codedeploy, observe),
            alarms: Alarms::new(&codedeploy, observe),
            codedeploy: CodeDeploy::new(&codedeploy, observe),
            ecs: Ecs::new(&codedeploy, observe),
        }
    }
}

/// Looks up the region in the SDK's own order: environment variables, the profile, the machine's metadata service. The service is asked once with a
/// short timeout: where there is none, the SDK's retries would delay readiness by seconds.
fn region_of_machine() -> RegionProviderChain {
    let metadata = imds::Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(transport::shared()))
        .max_attempts(1)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .operation_timeout(METADATA_TIMEOUT)
        .build();
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(ImdsRegionProvider::builder().imds_client(metadata).build())
}

/// Returns the account of a role. The account of access keys is known only once STS was asked.
fn account_of(credentials: &AwsCredentials) -> Option<String> {
    match credentials {
        AwsCredentials::Keys(_) => None,
        AwsCredentials::Role { role_arn, .. } => Some(RoleArn::parse(role_arn).ok()?.account.to_owned()),
    }
}

/// Returns `config` with requests that take tokens of `scope`. They wait for half of the call's time limit at most, so that the limit leaves time for the call.
fn with_budget(config: &SdkConfig, http: &SharedHttpClient, scope: &Scope, operation_timeout: Duration) -> SdkConfig {
    config.to_builder().http_client(budget::limit(http.clone(), scope.clone(), operation_timeout / 2)).build()
}

/// Removes the final slash: `Url` always has one, and the SDK appends another.
fn without_trailing_slash(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// Converts a timestamp of the SDK; `None` for a time outside the calendar's range, which only a faulty server sends.
fn utc(time: &aws_sdk_sts::primitives::DateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests;
