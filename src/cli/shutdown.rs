//! SIGTERM and SIGINT end what runs in an orderly way; a second one of them is no reason to be less orderly.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::CliError;

/// A token that is cancelled by the first SIGTERM or SIGINT.
pub fn token() -> Result<CancellationToken, CliError> {
    let failed = |error: std::io::Error| CliError::input("signals", error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        // The handlers stay: the default action of a second signal would end us in the middle of stopping the parts.
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
