//! Log filter that an admin sets while replicas run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tracing::Subscriber as _;
use tracing_log::{AsTrace as _, log};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use super::message::{Message, message};

/// Duration of a filter whose request names none.
pub const DEFAULT_TIME: Duration = Duration::from_mins(15);

/// Longest duration of a filter: a forgotten one must not fill disks.
pub const LONGEST_TIME: Duration = Duration::from_hours(24);

/// Longest filter, in bytes.
pub const MAX_LENGTH: usize = 1_000;

/// Validated filter in the syntax of `RUST_LOG`: it can be parsed, and Panda's own errors pass it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Returns the filter's text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Builds a new filter that adds this one to the filter `base`. Filters store spans, so none may be used twice.
    ///
    /// # Errors
    /// The rule that `base` breaks; never if both texts were validated.
    pub fn over(&self, base: &str) -> Result<EnvFilter, Message> {
        build(&format!("{base},{}", self.0))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        if text.is_empty() {
            return Err(message!("rule.filter_empty"));
        }
        if text.len() > MAX_LENGTH {
            return Err(message!("rule.filter_long", max = MAX_LENGTH));
        }
        if text.split(',').any(str::is_empty) {
            return Err(message!("rule.filter_commas"));
        }
        // The library splits texts with spaces at the wrong positions.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(message!("rule.filter_ascii"));
        }
        let filter = build(text)?;
        if !lets_errors_pass(filter) {
            return Err(message!("rule.filter_errors"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Parses a filter. Field values are compared literally: as a regular expression, a few characters could use up the memory of every replica.
fn build(text: &str) -> Result<EnvFilter, Message> {
    EnvFilter::builder()
        .with_regex(false)
        .parse(text)
        .map_err(|error| message!("rule.filter_syntax", error = error.to_string()))
}

fn lets_errors_pass(filter: EnvFilter) -> bool {
    let error = log::Metadata::builder().level(log::Level::Error).target("panda").build();
    Registry::default().with(filter).enabled(&error.as_trace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_rust_log_accepts() {
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
    fn rejects_an_invalid_filter_with_the_remedy() {
        let long = format!("info,{}", "a".repeat(MAX_LENGTH));
        for (bad, word) in [
            ("", "must not be empty"),
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
            assert!(rule.to_string().contains(word), "{bad}: {rule}");
        }
    }

    #[test]
    fn rejects_a_filter_that_hides_errors() {
        for bad in ["off", "OFF", "panda=off", "info,panda=off", "panda::reconcile=debug", "warning", "sqlx=debug"] {
            let rule = bad.parse::<LogFilter>().unwrap_err();
            assert!(rule.to_string().contains("begin with a level for all"), "{bad}: {rule}");
        }
    }

    #[test]
    fn field_value_is_no_regular_expression() {
        // As a regular expression it would have a million states.
        "info,[step{step=(a|b)*a(a|b){20}}]=debug".parse::<LogFilter>().unwrap_err();
        "info,[step{step=[ab]*a[ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab]}]=debug"
            .parse::<LogFilter>()
            .unwrap();
    }
}
