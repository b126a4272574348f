//! Logs panics as error lines in the configured format, with the fields of the current span.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{set_hook, take_hook};

use tracing::Level;

/// Installs a panic hook that logs; with a backtrace if `RUST_BACKTRACE` is set.
pub(super) fn install_hook() {
    let default = take_hook();
    set_hook(Box::new(move |panic| {
        // A panic while a log line is written cannot be logged.
        if !tracing::enabled!(Level::ERROR) {
            return default(panic);
        }
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            panic = panic.payload_as_str().unwrap_or("no message"),
            location,
            thread = thread.name(),
            backtrace,
            "panic"
        );
    }));
}
