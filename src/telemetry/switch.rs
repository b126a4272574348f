//! Another filter while the process runs.
//!
//! An `EnvFilter` remembers the spans that its directives are about, and on each thread those that are entered. One that comes into a running
//! process knows none of the spans that are there, and passes over their ends; so each is built for one use, and never put back after another.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog as _, log};
use tracing_subscriber::EnvFilter;

use crate::domain::log_filter::LogFilter;

/// What every filter stands on: the scheduler tells of its own inner life at `info`, and the AWS SDK repeats in every try what the step that failed
/// says once. Who wants to read these names them.
const BASE: &str = "error,tokio_cron_scheduler=warn,aws_config=error";

/// What is logged in this process. Its subscriber is there once for the whole process, and so is this.
struct Switch {
    /// The filter that rules while nobody sets another.
    own: String,
    logged: Arc<RwLock<EnvFilter>>,
}

static SWITCH: OnceLock<Switch> = OnceLock::new();

fn switch(own: &str) -> &'static Switch {
    SWITCH.get_or_init(|| Switch { own: own.to_owned(), logged: Arc::new(RwLock::new(build(own))) })
}

fn build(own: &str) -> EnvFilter {
    EnvFilter::try_new(format!("{BASE},{own}")).unwrap_or_default()
}

/// The filter of a process whose own is `own`, if it has none yet.
pub(super) fn filter(own: &str) -> Arc<RwLock<EnvFilter>> {
    Arc::clone(&switch(own).logged)
}

/// The filter that rules in this process while nobody sets another.
pub fn own_filter() -> &'static str {
    &switch(super::SERVER_LOG).own
}

/// Has `filter` rule from now on; the process' own when there is none.
///
/// Directives about spans take hold of spans that begin from now on.
///
/// # Errors
/// When the filter cannot be parsed: it was not looked through by this version. The one before stays.
pub fn rule(filter: Option<&LogFilter>) -> Result<(), String> {
    let switch = switch(super::SERVER_LOG);
    let next = match filter {
        Some(filter) => filter.over(BASE)?,
        None => build(&switch.own),
    };
    // The one before goes when nobody asks it any more.
    let _before = std::mem::replace(&mut *switch.logged.write().unwrap_or_else(PoisonError::into_inner), next);
    // What each place of the program was told about its lines is asked anew.
    tracing::callsite::rebuild_interest_cache();
    log::set_max_level(LevelFilter::current().as_log());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{LogFormat, init};

    #[test]
    fn libraries_that_use_the_older_crate_follow() {
        let _telemetry = init(LogFormat::Json, "info", None, None).unwrap();
        let level = |filter: &str| {
            rule(Some(&filter.parse().unwrap())).unwrap();
            log::max_level()
        };
        assert_eq!(level("info,globset=trace"), log::LevelFilter::Trace);
        assert_eq!(level("error"), log::LevelFilter::Info);
        assert_eq!(level("debug"), log::LevelFilter::Debug);
    }
}
