//! The filter of spans and log lines.
//!
//! A single filter serves all layers. Separate filters per layer (`Layer::with_filter`) lose spans at random here: sqlx asks `enabled` for a line
//! without logging it, and such filters apply the remembered answer to the next span.

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// Libraries that log whole requests and responses below `info`, including tokens and keys.
const LEAKING_LIBRARIES: [&str; 8] = ["aws_", "bollard", "git2", "h2", "hyper", "reqwest", "rustls", "tonic"];

/// Target of the lines about changes of the filter. No filter hides them, since they explain why other lines appear and disappear.
pub const LOG_CONTROL_TARGET: &str = "panda::log";

/// The layer that applies the active filter, without the lines of [`LEAKING_LIBRARIES`] below `info`.
///
/// Panda's spans at `info` and above are always enabled: log lines take the deployment's id from them, even lines after a change of the filter, and
/// the spans are exported as traces.
pub(super) struct Filter(pub(super) Arc<RwLock<EnvFilter>>);

impl Filter {
    /// Locks the active filter for a single query, so that a change of the filter waits for at most one query.
    fn active(&self) -> RwLockReadGuard<'_, EnvFilter> {
        self.0.read()
    }
}

fn is_permitted(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !LEAKING_LIBRARIES.iter().any(|library| metadata.target().starts_with(library))
}

fn is_always_enabled(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let required = if metadata.is_span() { target.starts_with("panda") } else { target == LOG_CONTROL_TARGET };
    required && *metadata.level() <= Level::INFO
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if !is_permitted(metadata) {
            return Interest::never();
        }
        // Called in any case, because the filter records directives about spans here.
        let interest = Layer::<S>::register_callsite(&*self.active(), metadata);
        if is_always_enabled(metadata) { Interest::always() } else { interest }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_permitted(metadata)
            && (is_always_enabled(metadata) || Layer::<S>::enabled(&*self.active(), metadata, context))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&*self.active()).map(|level| level.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.active().on_new_span(span, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Layer::<S>::on_record(&*self.active(), id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_enter(&*self.active(), id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_exit(&*self.active(), id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Layer::<S>::on_close(&*self.active(), id, context);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::Event;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A layer that counts lines.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A subscriber whose filter can be changed, and which counts lines.
    struct Fixture {
        active: Arc<RwLock<EnvFilter>>,
        count: Count,
    }

    impl Fixture {
        fn with(filter: &str, work: impl FnOnce(&Self)) {
            let active = Arc::new(RwLock::new(EnvFilter::new(filter)));
            let fixture = Self { active: Arc::clone(&active), count: Count::default() };
            let subscriber = tracing_subscriber::registry().with(Filter(active)).with(fixture.count.clone());
            tracing::subscriber::with_default(subscriber, || work(&fixture));
        }

        fn change(&self, filter: &str) {
            *self.active.write() = EnvFilter::new(filter);
            tracing::callsite::rebuild_interest_cache();
        }

        fn lines(&self, log: impl FnOnce()) -> usize {
            let before = self.count.0.load(Ordering::SeqCst);
            log();
            self.count.0.load(Ordering::SeqCst) - before
        }
    }

    fn detail() {
        tracing::debug!("a detail");
    }

    #[test]
    fn filter_about_spans_changes_while_a_span_is_entered() {
        Fixture::with("info,[work]=debug", |fixture| {
            let span = tracing::info_span!("work");
            let entered = span.enter();
            assert_eq!(fixture.lines(detail), 1);
            fixture.change("info,[work]=debug");
            // The new filter does not know the span that is already entered.
            assert_eq!(fixture.lines(detail), 0);
            drop(entered);
            assert_eq!(fixture.lines(detail), 0);
            for _ in 0..2 {
                assert_eq!(fixture.lines(|| tracing::info_span!("work").in_scope(detail)), 1);
                assert_eq!(fixture.lines(detail), 0);
            }
            fixture.change("debug");
            assert_eq!(fixture.lines(detail), 1);
            fixture.change("info");
            assert_eq!(fixture.lines(|| span.in_scope(detail)), 0);
        });
    }

    #[test]
    fn own_spans_are_always_enabled() {
        Fixture::with("error", |fixture| {
            assert!(!tracing::info_span!("work").is_disabled());
            assert!(tracing::debug_span!("detail").is_disabled());
            assert!(tracing::info_span!(target: "others", "work").is_disabled());
            fixture.change("off");
            assert!(!tracing::info_span!("work").is_disabled());
            assert_eq!(fixture.lines(|| tracing::error!("hidden")), 0);
            assert_eq!(fixture.lines(|| tracing::info!(target: LOG_CONTROL_TARGET, "about the log")), 1);
        });
    }

    #[test]
    fn leaking_libraries_never_log_below_info() {
        Fixture::with("trace", |fixture| {
            let lines = fixture.lines(|| {
                tracing::debug!(target: "aws_smithy_runtime::client", "a body");
                tracing::trace!(target: "hyper::proto", "a head");
                tracing::debug!(target: "bollard::docker", "an answer");
            });
            assert_eq!(lines, 0);
            fixture.change("trace,aws_smithy_runtime=trace,[work]=trace");
            let lines = fixture.lines(|| {
                tracing::info_span!("work")
                    .in_scope(|| tracing::debug!(target: "aws_smithy_runtime::client", "a body"));
            });
            assert_eq!(lines, 0);
            assert_eq!(fixture.lines(|| tracing::warn!(target: "hyper::proto", "trouble")), 1);
        });
    }
}
