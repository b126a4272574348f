//! Logs go to standard error, so that standard output is only what was asked for.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Libraries that print whole requests and answers below `info`, with the tokens and keys in them.
const INDISCREET: [&str; 7] = ["aws_", "bollard", "git2", "h2", "hyper", "reqwest", "rustls"];

/// Starts logging. `RUST_LOG` rules over `default`, which is a filter such as `info` or `panda=debug,warn`; what [`INDISCREET`]
/// libraries say below `info` is never logged.
pub fn init(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter_fn(is_discreet)).with(filter);
    // A second subscriber in one process (tests) is refused; the first one stays, which is what is wanted.
    let _ = match format {
        LogFormat::Text => subscriber.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => subscriber.with(lines.json().flatten_event(true)).try_init(),
    };
}

fn is_discreet(what: &Metadata<'_>) -> bool {
    *what.level() <= Level::INFO || !INDISCREET.iter().any(|library| what.target().starts_with(library))
}
