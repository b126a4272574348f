//! A log filter that somebody sets while replicas run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tracing::Subscriber as _;
use tracing_log::{AsTrace as _, log};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Registry};

/// For how long, when nobody says it.
pub const DEFAULT_TIME: Duration = Duration::from_mins(15);

/// For how long at most: what was forgotten must not fill disks.
pub const LONGEST_TIME: Duration = Duration::from_hours(24);

/// Most characters.
pub const MAX_LENGTH: usize = 1_000;

/// A filter as in `RUST_LOG` that was looked through: it can be parsed, and errors of Panda's own pass it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new filter of that kind, over `base`, which is one too: it remembers spans, so none is used twice.
    ///
    /// # Errors
    /// The rule that it breaks; never for one that was parsed before.
    pub fn over(&self, base: &str) -> Result<EnvFilter, String> {
        build(&format!("{base},{}", self.0))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must say what is logged, such as info,panda::reconcile=debug".to_owned());
        }
        if text.len() > MAX_LENGTH {
            return Err(format!("must have at most {MAX_LENGTH} characters"));
        }
        if text.split(',').any(str::is_empty) {
            return Err("must have a level or target=level between any two commas, such as info,panda=debug".to_owned());
        }
        // The library cuts texts with spaces in the wrong places.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must have visible ASCII characters alone, and no spaces, such as info,panda=debug".to_owned());
        }
        let filter = build(text)?;
        if !lets_errors_pass(filter) {
            return Err(
                "must let Panda's own errors pass; begin with a level for all, such as warn,panda::reconcile=debug"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// Values of fields are compared as they are: as regular expressions, a few characters would take all memory of every replica.
fn build(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().with_regex(false).parse(text).map_err(|error| {
        format!("must be levels (error, warn, info, debug, trace) and target=level with commas between, such as info,panda::reconcile=debug ({error})")
    })
}

fn lets_errors_pass(filter: EnvFilter) -> bool {
    let error = log::Metadata::builder().level(log::Level::Error).target("panda").build();
    Registry::default().with(filter).enabled(&error.as_trace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_log_takes_is_taken() {
        for good in [
            "error",
            "info",
            "TRACE",
            "info,panda::reconcile=debug",
            "warn,panda=trace,sqlx=info",
            "info,[deployment{deployment=dep_4k1zq0v7w3m9x2c8b5n6}]=debug",
            "info,[step]=debug",
            "panda=info",
        ] {
            assert_eq!(good.parse::<LogFilter>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_cannot_be_a_filter_is_refused_with_the_remedy() {
        let long = format!("info,{}", "a".repeat(MAX_LENGTH));
        for (bad, word) in [
            ("", "must say"),
            (long.as_str(), "at most 1000"),
            ("info, panda=debug", "no spaces"),
            ("정보", "visible ASCII"),
            ("info\n", "no spaces"),
            ("panda=loud", "target=level"),
            ("info,[step", "target=level"),
            ("=", "target=level"),
            ("info,,panda=debug", "target=level"),
            ("info,panda==debug", "target=level"),
            (",", "target=level"),
        ] {
            let rule = bad.parse::<LogFilter>().unwrap_err();
            assert!(rule.contains(word), "{bad}: {rule}");
        }
    }

    #[test]
    fn what_hides_errors_of_ours_is_refused() {
        for bad in ["off", "OFF", "panda=off", "info,panda=off", "panda::reconcile=debug", "warning", "sqlx=debug"] {
            let rule = bad.parse::<LogFilter>().unwrap_err();
            assert!(rule.contains("begin with a level for all"), "{bad}: {rule}");
        }
    }

    #[test]
    fn a_value_is_no_regular_expression() {
        // As one it would have a million states.
        "info,[step{step=(a|b)*a(a|b){20}}]=debug".parse::<LogFilter>().unwrap_err();
        "info,[step{step=[ab]*a[ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab]}]=debug"
            .parse::<LogFilter>()
            .unwrap();
    }
}
