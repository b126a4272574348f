//! One HTTP client for every AWS client.
//!
//! Left to itself the SDK gives each client of each service its own, with its own connections and its own parsed copy of the
//! machine's certificates: times four services, times the cached users, that is most of the program's memory.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};

/// As the SDK makes its own: rustls, HTTP proxies by the usual variables, timeouts as the configuration says.
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
    let client = super::bounded::bounded(client);
    #[cfg(feature = "failpoints")]
    let client = super::failpoints::watched(client);
    client
}
