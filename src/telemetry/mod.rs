//! Logs to standard error, and traces to an OpenTelemetry collector.

mod active_filter;
mod filter;
mod json;
mod logs;
mod panics;
pub mod traces;

pub use active_filter::{default_filter, set_filter};
pub use filter::LOG_CONTROL_TARGET;
pub use logs::{LogFormat, SERVER_LOG};

use filter::Filter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The configured collector endpoint is not usable.
#[derive(Debug, thiserror::Error)]
#[error("--otlp-endpoint (PANDA_OTLP_ENDPOINT): {0}")]
pub struct TelemetryError(String);

/// Guard of the trace exporter. Dropping it sends the buffered spans.
#[derive(Debug)]
#[must_use = "dropping it sends the buffered spans and ends tracing"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown_with_timeout(traces::SHUTDOWN_TIMEOUT)
        {
            tracing::warn!(%error, "buffered spans could not be sent at shutdown");
        }
    }
}

/// Starts logging, and tracing if there is a collector `endpoint`. `RUST_LOG` takes precedence over `default`, a filter such as `info` or
/// `panda=debug,warn`. JSON lines contain the name of the `replica`, if the process is one.
///
/// # Errors
/// The endpoint is not an http or https URL with a host.
pub fn init(
    format: LogFormat,
    default: &str,
    endpoint: Option<&str>,
    replica: Option<String>,
) -> Result<Telemetry, TelemetryError> {
    let provider = endpoint.map(traces::provider).transpose()?;
    let from_env = std::env::var("RUST_LOG").ok();
    let invalid = from_env.as_deref().and_then(|filter| EnvFilter::try_new(filter).err());
    let default = from_env.as_deref().filter(|_| invalid.is_none()).unwrap_or(default);
    let subscriber = tracing_subscriber::registry()
        .with(Filter(active_filter::init(default)))
        .with(logs::layer(format, replica))
        .with(provider.as_ref().map(traces::layer));
    // A second call in the same process (in tests) fails here, and the first subscriber stays as intended.
    if subscriber.try_init().is_ok() {
        panics::install_hook();
    }
    if let Some(error) = invalid {
        tracing::warn!(%error, filter = default, "RUST_LOG is not a valid filter (example: info,panda::reconcile=debug), using the default");
    }
    Ok(Telemetry(provider))
}
