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
const INDISCREET: [&str; 7] = ["aws_", "bollard", "git2", "h2", "hyper", "reqwest", "rustls"];

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
