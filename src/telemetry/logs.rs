//! Logs go to standard error, so that standard output is only what was asked for.

use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::registry::LookupSpan;

use super::json::Lines;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What the server logs by default.
pub const SERVER_LOG: &str = "info";

/// Lines on standard error; for machines with the name of the `replica`.
pub(super) fn layer<S>(format: LogFormat, replica: Option<String>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.with_ansi(false).fmt_fields(JsonFields::new()).event_format(Lines { replica }).boxed(),
    }
}
