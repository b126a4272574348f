//! The environment of a running Panda, for a Panda in this process.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use panda::clients::aws::{Aws, AwsSettings};
use panda::config::Config;
use panda::domain::connection::AwsKeys;
use panda::metrics::{AwsCalls, Metrics};
use panda::steps::Services;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::panda::Panda;
use panda_sandbox::SandboxCredentials;
pub use panda_testing::environment::{OWNER, TOKEN, hello, tiny};

/// The sandbox's AWS and GitHub, a real registry, the engine, a database.
pub type Environment = panda_testing::environment::Environment<Panda>;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// The environment as the program's own types.
pub trait InProcess {
    /// A configuration for this environment with short intervals; `more` are further flags.
    fn config(&self, more: &[&str]) -> Config;

    /// The controller's own keys.
    fn controller(&self) -> AwsKeys;

    /// The external services of a Panda in this environment.
    async fn services(&self) -> Arc<Services>;
}

impl InProcess for Environment {
    fn config(&self, more: &[&str]) -> Config {
        Cli::try_parse_from([vec!["panda".to_owned()], self.flags(more)].concat()).unwrap().config
    }

    fn controller(&self) -> AwsKeys {
        keys(self.sandbox.controller_credentials())
    }

    async fn services(&self) -> Arc<Services> {
        let (config, controller) = (self.config(&[]), self.controller());
        Arc::new(panda::app::services(&config, Some(controller), &Metrics::default()).await.unwrap())
    }
}

/// Keys of the sandbox as Panda stores them.
pub fn keys(of: &SandboxCredentials) -> AwsKeys {
    AwsKeys {
        access_key_id: of.access_key_id.clone(),
        secret_access_key: SecretString::from(of.secret_access_key.expose_secret()),
        session_token: None,
    }
}

/// Panda's AWS clients with one endpoint for every service, signed in with the controller's `keys`.
pub async fn aws(
    endpoint: Option<Url>,
    region: Option<&str>,
    keys: AwsKeys,
    timeout: Duration,
    roles: &[String],
) -> Aws {
    Aws::new(AwsSettings {
        endpoint_url: endpoint,
        codedeploy_endpoint_url: None,
        controller_region: region.map(str::to_owned),
        controller_credentials: Some(keys),
        operation_timeout: timeout,
        controller_roles: roles.to_vec(),
        quotas: panda::domain::api_quota::ApiQuotas::default(),
        calls: AwsCalls::default(),
    })
    .await
}
