//! What is asked of AWS, as spans. Clients that make one long call mark it with `#[instrument]`, in the same words.

use tracing::Span;

/// A span for a call to somebody else, below the one that is entered.
pub(super) fn span(call: &str) -> Span {
    tracing::info_span!(
        "call",
        otel.name = call,
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        error.r#type = tracing::field::Empty
    )
}

/// Marks it as one that came to nothing. `code` is the other side's, never its words: those may hold anything.
pub(super) fn failed(span: &Span, code: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", code);
}
