//! The HTTP client that all AWS clients share.
//!
//! By default the SDK gives each client of each service a separate HTTP client, with its own connections and its own parsed copy of the machine's
//! certificates: times four services, times the cached users, that is most of the program's memory.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};

/// Creates the client as the SDK would: rustls, HTTP proxies from the usual environment variables, timeouts from the configuration.
pub(super) fn shared() -> SharedHttpClient {
    let client = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    });
    let client = super::response_limit::limit_responses(client);
    #[cfg(feature = "failpoints")]
    let client = super::failpoints::with_failpoints(client);
    client
}
