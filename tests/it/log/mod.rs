//! The log of real processes: its lines, filter changes at runtime, and fields for machine readers.

mod fields;
mod filter;

use serde_json::Value;

use crate::support::process::Serve;

/// The parsed lines of a server that logs JSON.
fn lines(serve: &Serve) -> Vec<Value> {
    let log = serve.log();
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn said<'a>(lines: &'a [Value], message: &str) -> Option<&'a Value> {
    lines.iter().find(|line| line["message"] == message)
}
