//! What the program says of itself while it runs: logs to standard error, traces to a collector.

mod filter;
mod json;
mod logs;
mod panics;
mod switch;
pub mod traces;

pub use filter::ABOUT_THE_LOG;
pub use logs::{LogFormat, SERVER_LOG};
pub use switch::{own_filter, rule};

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
/// `panda=debug,warn`. Lines for machines have the name of the `replica`, if the process is one.
///
/// # Errors
/// When the endpoint cannot be used as it is.
pub fn init(
    format: LogFormat,
    default: &str,
    endpoint: Option<&str>,
    replica: Option<String>,
) -> Result<Telemetry, TelemetryError> {
    let provider = endpoint.map(traces::provider).transpose()?;
    let wish = std::env::var("RUST_LOG").ok();
    let wrong = wish.as_deref().and_then(|wish| EnvFilter::try_new(wish).err());
    let own = wish.as_deref().filter(|_| wrong.is_none()).unwrap_or(default);
    let subscriber = tracing_subscriber::registry()
        .with(Filter(switch::filter(own)))
        .with(logs::layer(format, replica))
        .with(provider.as_ref().map(traces::layer));
    // A second subscriber in one process (tests) is refused; the first one stays, which is what is wanted.
    if subscriber.try_init().is_ok() {
        panics::log();
    }
    if let Some(error) = wrong {
        tracing::warn!(%error, filter = own, "RUST_LOG is no filter, such as info,panda::reconcile=debug; the default rules");
    }
    Ok(Telemetry(provider))
}
