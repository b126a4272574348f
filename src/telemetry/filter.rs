//! Which spans and log lines there are.
//!
//! One filter for all layers. A filter of its own for each (`Layer::with_filter`) loses spans at random here: sqlx asks whether a line would be
//! logged without logging it, and what such filters remember of the question is taken for the answer about the next span.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// Libraries that print whole requests and answers below `info`, with the tokens and keys in them.
const INDISCREET: [&str; 8] = ["aws_", "bollard", "git2", "h2", "hyper", "reqwest", "rustls", "tonic"];

/// What is said about the log itself: it is there whatever the filter, or nobody would know why lines come and go.
pub const ABOUT_THE_LOG: &str = "panda::log";

/// What is to be logged, without what [`INDISCREET`] libraries say below `info`.
///
/// Our own spans are there whatever is logged: lines name the deployment by them, also those that come after the filter was changed, and they
/// are what is sent as traces.
pub(super) struct Filter(pub(super) Arc<RwLock<EnvFilter>>);

impl Filter {
    /// Held for one question each: whoever changes the filter waits for none of ours to be answered twice.
    fn logged(&self) -> RwLockReadGuard<'_, EnvFilter> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_discreet(what: &Metadata<'_>) -> bool {
    *what.level() <= Level::INFO || !INDISCREET.iter().any(|library| what.target().starts_with(library))
}

fn is_there_always(what: &Metadata<'_>) -> bool {
    let ours = if what.is_span() { what.target().starts_with("panda") } else { what.target() == ABOUT_THE_LOG };
    ours && *what.level() <= Level::INFO
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Filter {
    fn register_callsite(&self, what: &'static Metadata<'static>) -> Interest {
        if !is_discreet(what) {
            return Interest::never();
        }
        // Asked in any case: it remembers directives about spans here.
        let logged = Layer::<S>::register_callsite(&*self.logged(), what);
        if is_there_always(what) { Interest::always() } else { logged }
    }

    fn enabled(&self, what: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_discreet(what) && (is_there_always(what) || Layer::<S>::enabled(&*self.logged(), what, context))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&*self.logged()).map(|level| level.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.logged().on_new_span(span, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Layer::<S>::on_record(&*self.logged(), id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_enter(&*self.logged(), id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Layer::<S>::on_exit(&*self.logged(), id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Layer::<S>::on_close(&*self.logged(), id, context);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::Event;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Counts lines.
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is done with a filter, and how many lines something makes.
    struct Tried {
        logged: Arc<RwLock<EnvFilter>>,
        count: Count,
    }

    impl Tried {
        fn with(filter: &str, work: impl FnOnce(&Self)) {
            let logged = Arc::new(RwLock::new(EnvFilter::new(filter)));
            let tried = Self { logged: Arc::clone(&logged), count: Count::default() };
            let subscriber = tracing_subscriber::registry().with(Filter(logged)).with(tried.count.clone());
            tracing::subscriber::with_default(subscriber, || work(&tried));
        }

        fn change(&self, filter: &str) {
            *self.logged.write().unwrap() = EnvFilter::new(filter);
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
    fn a_filter_about_spans_may_be_changed_while_one_is_entered() {
        Tried::with("info,[work]=debug", |tried| {
            let span = tracing::info_span!("work");
            let entered = span.enter();
            assert_eq!(tried.lines(detail), 1);
            tried.change("info,[work]=debug");
            // The new filter does not know this one.
            assert_eq!(tried.lines(detail), 0);
            drop(entered);
            assert_eq!(tried.lines(detail), 0);
            for _ in 0..2 {
                assert_eq!(tried.lines(|| tracing::info_span!("work").in_scope(detail)), 1);
                assert_eq!(tried.lines(detail), 0);
            }
            tried.change("debug");
            assert_eq!(tried.lines(detail), 1);
            tried.change("info");
            assert_eq!(tried.lines(|| span.in_scope(detail)), 0);
        });
    }

    #[test]
    fn spans_of_ours_are_there_whatever_is_logged() {
        Tried::with("error", |tried| {
            assert!(!tracing::info_span!("work").is_disabled());
            assert!(tracing::debug_span!("detail").is_disabled());
            assert!(tracing::info_span!(target: "others", "work").is_disabled());
            tried.change("off");
            assert!(!tracing::info_span!("work").is_disabled());
            assert_eq!(tried.lines(|| tracing::error!("hidden")), 0);
            assert_eq!(tried.lines(|| tracing::info!(target: ABOUT_THE_LOG, "about the log")), 1);
        });
    }

    #[test]
    fn indiscreet_libraries_stay_quiet_whatever_is_logged() {
        Tried::with("trace", |tried| {
            let told = tried.lines(|| {
                tracing::debug!(target: "aws_smithy_runtime::client", "a body");
                tracing::trace!(target: "hyper::proto", "a head");
                tracing::debug!(target: "bollard::docker", "an answer");
            });
            assert_eq!(told, 0);
            tried.change("trace,aws_smithy_runtime=trace,[work]=trace");
            let told = tried.lines(|| {
                tracing::info_span!("work")
                    .in_scope(|| tracing::debug!(target: "aws_smithy_runtime::client", "a body"));
            });
            assert_eq!(told, 0);
            assert_eq!(tried.lines(|| tracing::warn!(target: "hyper::proto", "trouble")), 1);
        });
    }
}
