//! The active log filter, which can be replaced while the process runs.
//!
//! An `EnvFilter` keeps state: the spans that its directives match, and on each thread those that are entered. A filter installed into a running
//! process knows none of the existing spans and ignores their ends. Therefore each filter is built for a single use and never reinstalled after
//! another.

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog as _, log};
use tracing_subscriber::EnvFilter;

use crate::domain::log_filter::LogFilter;
use crate::domain::message::Message;

/// Directives in front of every filter. The scheduler logs internals at `info`, and the AWS SDK logs an error for each retry that the failed
/// step logs once. A filter that names these targets enables their lines.
const BASE: &str = "error,tokio_cron_scheduler=warn,aws_config=error";

/// The filter of this process, global like the tracing subscriber that uses it.
struct ActiveFilter {
    /// Directives of the default filter, which applies unless an administrator sets another.
    default: String,
    active: Arc<RwLock<EnvFilter>>,
}

static FILTER: OnceLock<ActiveFilter> = OnceLock::new();

fn get_or_init(default: &str) -> &'static ActiveFilter {
    FILTER.get_or_init(|| ActiveFilter { default: default.to_owned(), active: Arc::new(RwLock::new(build(default))) })
}

fn build(filter: &str) -> EnvFilter {
    EnvFilter::try_new(format!("{BASE},{filter}")).unwrap_or_default()
}

/// Sets the default filter if the process has none yet. Returns the active filter.
pub(super) fn init(default: &str) -> Arc<RwLock<EnvFilter>> {
    Arc::clone(&get_or_init(default).active)
}

/// Returns the directives of this process's default filter.
pub fn default_filter() -> &'static str {
    &get_or_init(super::SERVER_LOG).default
}

/// Activates `filter`, or the default filter if there is none.
///
/// Directives about spans apply only to spans that begin afterwards.
///
/// # Errors
/// The filter cannot be parsed, for example because another version of Panda accepted it. The active filter stays.
pub fn set_filter(filter: Option<&LogFilter>) -> Result<(), Message> {
    let current = get_or_init(super::SERVER_LOG);
    let next = match filter {
        Some(filter) => filter.over(BASE)?,
        None => build(&current.default),
    };
    // The previous filter is dropped at the end of this function, after the lock is released.
    let _previous = std::mem::replace(&mut *current.active.write(), next);
    // Discards the answers that callsites have cached for the previous filter.
    tracing::callsite::rebuild_interest_cache();
    log::set_max_level(LevelFilter::current().as_log());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{LogFormat, init};

    #[test]
    fn filter_applies_to_lines_of_the_log_crate() {
        let _telemetry = init(LogFormat::Json, "info", None, None).unwrap();
        let level = |filter: &str| {
            set_filter(Some(&filter.parse().unwrap())).unwrap();
            log::max_level()
        };
        assert_eq!(level("info,globset=trace"), log::LevelFilter::Trace);
        assert_eq!(level("error"), log::LevelFilter::Info);
        assert_eq!(level("debug"), log::LevelFilter::Debug);
    }
}
