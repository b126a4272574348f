//! AWS, in two accounts: the user's (by the connection's credentials) and the controller's (by the default chain).
//!
//! One file a service. Clients are cheap to clone and share one connection pool; those of a user's account are kept per
//! connection in a small cache, because a role's session and TLS connections are worth keeping between polls.

mod bounded;
mod codedeploy;
mod credentials;
mod ecr;
mod error;
mod eventbridge;
#[cfg(feature = "failpoints")]
mod failpoints;
mod kms;
mod observe;
mod rds;
mod roles;
mod secrets;
mod sfn;
mod sts;
mod transport;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::{self, region::ImdsRegionProvider};
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig, timeout::TimeoutConfig,
};
use secrecy::SecretString;
use url::Url;

pub use codedeploy::{CodeDeploy, CodeDeployStatus, CodeDeployment, LifecycleEvent};
pub use ecr::{Ecr, EcrImage, EcrRepository, RegistryLogin};
pub use eventbridge::{BusDescription, EventBus, EventRules};
pub use kms::KmsKey;
pub use rds::RdsTokens;
pub use roles::{RoleRefusal, Trust};
pub use secrets::Secrets;
pub use sfn::{Execution, ExecutionStatus, Executions};
pub use sts::{CallerIdentity, Sts};

use crate::clients::ClientError;
use crate::domain::connection::{AwsCredentials, AwsKeys};
use crate::metrics::AwsCalls;
use observe::Observe;
use roles::RoleGuard;

/// How many users' client sets are kept; the least recently used one goes first and is simply made anew when needed.
const CACHED_USERS: usize = 64;

/// Tries of one SDK call, the first included: the step machine waits and tries again at a larger scale.
const ATTEMPTS: u32 = 3;

/// The longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the machine's metadata service may take to name the region; it answers within a few milliseconds where it exists.
const METADATA_TIMEOUT: Duration = Duration::from_millis(200);

/// A client of a service, whose calls are seen.
macro_rules! client {
    ($sdk:ident, $config:expr, $observe:expr) => {
        $sdk::Client::from_conf($sdk::config::Builder::from($config).interceptor($observe.clone()).build())
    };
}
use client;

/// How to reach AWS.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// Where every service is (the sandbox); none means AWS itself.
    pub endpoint_url: Option<Url>,
    /// Where `CodeDeploy` is, when it is somewhere else than the rest.
    pub codedeploy_endpoint_url: Option<Url>,
    /// The controller's region; none means the default chain's.
    pub controller_region: Option<String>,
    /// The controller's keys, for the sandbox only; none means the SDK's default credential chain.
    pub controller_credentials: Option<AwsKeys>,
    /// The longest that one call may take, its retries included.
    pub operation_timeout: Duration,
    /// Roles of the controller's own account that users may connect, by ARN.
    pub controller_roles: Vec<String>,
    /// Where calls are counted.
    pub calls: AwsCalls,
}

/// Makes the clients of both accounts.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

struct Inner {
    settings: AwsSettings,
    base: SdkConfig,
    observe: Observe,
    controller: ControllerAws,
    guard: RoleGuard,
    /// Least recently used first.
    users: Mutex<VecDeque<(UserKey, UserAws)>>,
}

#[derive(PartialEq, Eq)]
struct UserKey {
    connection: String,
    region: String,
    /// A connection whose credentials were renewed must not be served with the old ones.
    credentials: [u8; 32],
}

/// The clients of a user's account.
#[derive(Clone)]
pub struct UserAws {
    /// Who the credentials belong to.
    pub sts: Sts,
    /// Rules on the account's default bus.
    pub rules: EventRules,
    /// The image registry.
    pub ecr: Ecr,
    /// Blue/green deployments.
    pub codedeploy: CodeDeploy,
}

/// The clients of the controller's account.
#[derive(Clone)]
pub struct ControllerAws {
    /// Who the credentials belong to.
    pub sts: Sts,
    /// The bus that receives the users' events.
    pub bus: EventBus,
    /// The mailbox with the execution's ARN.
    pub secrets: Secrets,
    /// Step Functions executions.
    pub executions: Executions,
}

impl Aws {
    /// Reads the default chain's region and sets up the controller's clients; calls nobody but, perhaps, the machine's
    /// own metadata service for the region.
    pub async fn new(settings: AwsSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_timeout(settings.operation_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(transport::shared())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            // One cache for all clients of the account, or each client would assume the role by itself.
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
        let observe = Observe::new(settings.calls.clone());
        let controller = ControllerAws {
            sts: Sts::new(&base, &observe),
            bus: EventBus::new(&base, &observe),
            secrets: Secrets::new(&base, &observe),
            executions: Executions::new(&base, &observe),
        };
        let guard = RoleGuard::new(controller.sts.clone(), settings.controller_roles.clone());
        Self { inner: Arc::new(Inner { settings, base, observe, controller, guard, users: Mutex::default() }) }
    }

    /// The clients for a connection (`cache_key`) in `region`; the same set while it stays in the cache.
    pub fn user(&self, cache_key: &str, region: &str, credentials: &AwsCredentials) -> UserAws {
        let key = UserKey {
            connection: cache_key.to_owned(),
            region: region.to_owned(),
            credentials: credentials::fingerprint(credentials),
        };
        // Nothing can be half-done under this lock, so a panic elsewhere while it was held does no harm.
        let mut users = self.inner.users.lock().unwrap_or_else(PoisonError::into_inner);
        let found = users.iter().position(|(known, _)| *known == key).and_then(|at| users.remove(at));
        let (key, user) = found.unwrap_or_else(|| (key, self.new_user(region, credentials)));
        users.push_back((key, user.clone()));
        if users.len() > CACHED_USERS {
            users.pop_front();
        }
        user
    }

    /// Who these credentials of a user belong to, asked in `region`; nothing of them is kept.
    pub async fn identity(&self, region: &str, credentials: &AwsCredentials) -> Result<CallerIdentity, ClientError> {
        self.new_user(region, credentials).sts.caller_identity().await
    }

    /// Whether Panda assumes this role of a user at all: see [`RoleRefusal`].
    pub async fn check_role(&self, role_arn: &str) -> Result<(), RoleRefusal> {
        self.inner.guard.check(role_arn).await
    }

    /// Whether the role requires `external_id`, asked in `region` with the controller's credentials.
    pub async fn role_trust(
        &self,
        region: &str,
        role_arn: &str,
        external_id: &SecretString,
    ) -> Result<Trust, ClientError> {
        let config = self.inner.base.to_builder().region(Region::new(region.to_owned())).build();
        let sts = Sts::new(&config, &self.inner.observe);
        // Boxed: three calls at once take 18 KiB.
        Box::pin(roles::trust(&sts, role_arn, external_id)).await
    }

    /// The controller's account, once a role was checked.
    pub fn controller_account(&self) -> Option<&str> {
        self.inner.guard.account()
    }

    /// The clients of the controller's own account.
    pub fn controller(&self) -> &ControllerAws {
        &self.inner.controller
    }

    /// A key of KMS, used with the controller's credentials in the region of its ARN.
    pub fn kms_key(&self, arn: &str) -> KmsKey {
        KmsKey::new(&self.inner.base, &self.inner.observe, arn)
    }

    /// Tokens for databases in RDS, signed with the controller's credentials.
    pub fn rds_tokens(&self, region: Option<String>) -> RdsTokens {
        RdsTokens::new(&self.inner.base, region)
    }

    /// The controller's region, when the settings or the default chain name one.
    pub fn controller_region(&self) -> Option<&str> {
        self.inner.base.region().map(AsRef::as_ref)
    }

    fn new_user(&self, region: &str, credentials: &AwsCredentials) -> UserAws {
        let (base, observe) = (&self.inner.base, &self.inner.observe);
        let config = base
            .to_builder()
            .region(Region::new(region.to_owned()))
            .credentials_provider(credentials::provider(base, &self.inner.guard, region, credentials))
            .identity_cache(IdentityCache::lazy().build())
            .build();
        let codedeploy = match &self.inner.settings.codedeploy_endpoint_url {
            Some(url) => config.to_builder().endpoint_url(without_trailing_slash(url)).build(),
            None => config.clone(),
        };
        UserAws {
            sts: Sts::new(&config, observe),
            rules: EventRules::new(&config, observe),
            ecr: Ecr::new(&config, observe),
            codedeploy: CodeDeploy::new(&codedeploy, observe),
        }
    }
}

/// The SDK's own order: variables, the profile, the machine's metadata service. The service is asked once and shortly: where
/// there is none, the SDK's patience would keep the server from being ready for seconds.
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

/// The SDK appends `/` itself; `Url` always has one.
fn without_trailing_slash(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// AWS's time as ours; a time that no calendar has (a server's mistake) is none.
fn utc(time: &aws_sdk_sts::primitives::DateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: &str) -> AwsKeys {
        AwsKeys { access_key_id: id.into(), secret_access_key: SecretString::from("s3cr3t"), session_token: None }
    }

    async fn aws() -> Aws {
        Aws::new(AwsSettings {
            endpoint_url: Some("http://127.0.0.1:1/".parse().unwrap()),
            codedeploy_endpoint_url: None,
            controller_region: Some("ap-northeast-2".into()),
            controller_credentials: Some(keys("AKIDCONTROLLER")),
            operation_timeout: Duration::from_secs(5),
            controller_roles: Vec::new(),
            calls: AwsCalls::default(),
        })
        .await
    }

    #[tokio::test]
    async fn a_connections_clients_are_kept_until_its_credentials_change_and_the_cache_is_bounded() {
        let aws = aws().await;
        let known = |aws: &Aws| aws.inner.users.lock().unwrap().len();
        for _ in 0..3 {
            aws.user("aws_1", "us-east-1", &AwsCredentials::Keys(keys("AKID1")));
        }
        assert_eq!(known(&aws), 1);
        aws.user("aws_1", "us-east-1", &AwsCredentials::Keys(keys("AKID2")));
        assert_eq!(known(&aws), 2);
        let renewed = AwsKeys { secret_access_key: SecretString::from("other"), ..keys("AKID2") };
        aws.user("aws_1", "us-east-1", &AwsCredentials::Keys(renewed));
        assert_eq!(known(&aws), 3, "the same key id with another secret");
        for n in 0..2 * CACHED_USERS {
            aws.user(&format!("aws_{n}"), "us-east-1", &AwsCredentials::Keys(keys("AKID3")));
        }
        assert_eq!(known(&aws), CACHED_USERS);
        assert_eq!(aws.controller_region(), Some("ap-northeast-2"));
    }

    #[tokio::test]
    async fn nobody_listening_is_unavailable_for_keys_and_for_a_role() {
        let aws = aws().await;
        let role = AwsCredentials::Role { role_arn: "arn:aws:iam::111122223333:role/x".into(), external_id: None };
        for credentials in [AwsCredentials::Keys(keys("AKID")), role] {
            let error = aws.user("aws_1", "us-east-1", &credentials).sts.caller_identity().await.unwrap_err();
            assert_eq!(error.kind, crate::clients::ErrorKind::Unavailable, "{error}");
            assert!(!error.to_string().contains("s3cr3t"));
        }
    }
}
