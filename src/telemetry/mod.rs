//! What the program says of itself while it runs: logs to standard error, traces to a collector.

mod filter;
mod logs;
pub mod traces;

pub use logs::{LogFormat, SERVER_LOG};

use filter::Filter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
#[error("--otlp-endpoint (PANDA_OTLP_ENDPOINT): {0}")]
pub struct TelemetryError(String);

/// Sends what is left when it goes.
#[derive(Debug)]
#[must_use = "what is left is sent when this goes"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown_with_timeout(traces::LAST_WORDS)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Starts logging, and tracing when there is an `endpoint` to send to. `RUST_LOG` rules over `default`, which is a filter such as `info` or
/// `panda=debug,warn`.
///
/// # Errors
/// When the endpoint cannot be used as it is.
pub fn init(format: LogFormat, default: &str, endpoint: Option<&str>) -> Result<Telemetry, TelemetryError> {
    let provider = endpoint.map(traces::provider).transpose()?;
    let logged = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let filter = Filter { logged, traced: provider.is_some() };
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(logs::layer(format))
        .with(provider.as_ref().map(traces::layer));
    // A second subscriber in one process (tests) is refused; the first one stays, which is what is wanted.
    let _ = subscriber.try_init();
    Ok(Telemetry(provider))
}
