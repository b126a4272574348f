//! Tracing spans of external calls. A client that makes one long call uses `#[instrument]` with the same fields instead.

use tracing::Span;

/// Opens a span for an external call, as a child of the current span.
pub(super) fn open(call: &str) -> Span {
    tracing::info_span!(
        "call",
        otel.name = call,
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        error.r#type = tracing::field::Empty
    )
}

/// Marks the call as failed. `code` is the remote error code, never the remote message: a message may contain anything, secrets included.
pub(super) fn record_failure(span: &Span, code: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", code);
}
