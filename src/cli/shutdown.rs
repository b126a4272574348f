//! Graceful shutdown on SIGTERM and SIGINT. A second signal does not shorten it.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use crate::domain::message::Message;

/// Installs the handlers. Returns a token that the first SIGTERM or SIGINT cancels.
pub fn token() -> Result<CancellationToken, CliError> {
    let failed = |error: std::io::Error| CliError::input("signals", Message::verbatim(error.to_string()));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        // Keep the handlers: the default action of a second signal would kill the process while it stops its services.
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            cancelled.cancel();
        }
    });
    Ok(token)
}
