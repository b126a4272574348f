//! Panics are log lines like others: in the format that was asked for, with the fields of the span in which they happen.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{set_hook, take_hook};

use tracing::Level;

/// Has panics logged; with a backtrace where `RUST_BACKTRACE` asks for one.
pub(super) fn log() {
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        // Within a line that is being written nothing can be logged.
        if !tracing::enabled!(Level::ERROR) {
            return before(panic);
        }
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("no text"),
            location,
            thread = thread.name(),
            backtrace,
            "a panic"
        );
    }));
}
