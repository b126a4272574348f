//! Health check of green: what users may set, and the check that results.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::message::message;
use super::text;
use super::validate::{BrokenRule, FieldRefusal};

/// Longest path, and longest host, in bytes.
const MAX_TEXT: usize = 1_024;

/// Largest number of checks that may be set.
const MAX_COUNT: u32 = 20;

/// Longest time between two checks, in seconds. [`MAX_COUNT`] checks of a service that answers end before the default time limit of a step.
const MAX_INTERVAL: u32 = 20;

/// Most ranges of status codes.
const MAX_RANGES: usize = 20;

/// Health check options as users write them, in `[health_check]` of `panda.toml` or `greenHealthCheck` of the pipeline's output. An absent option has the
/// server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckSpec {
    /// Path below green's URL, such as `/api/healthz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Status codes of a healthy service, such as `200-399,401`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<String>,
    /// Number of checks, 1 to 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Time between two checks, 1 to 20 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// Value of the header `Host`, such as `shop.example.com`; that of green's URL when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// True for no check at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<bool>,
}

impl HealthCheckSpec {
    /// Takes each absent option from `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            path: self.path.or(defaults.path),
            codes: self.codes.or(defaults.codes),
            count: self.count.or(defaults.count),
            interval: self.interval.or(defaults.interval),
            host: self.host.or(defaults.host),
            skip: self.skip.or(defaults.skip),
        }
    }

    /// Validates every field.
    ///
    /// # Errors
    /// The first invalid field, with the remedy.
    pub fn checked(self) -> Result<Self, FieldRefusal> {
        let refused = |field: &'static str| move |rule: BrokenRule| FieldRefusal::new(field, rule);
        self.path.as_deref().map_or(Ok(()), path).map_err(refused("path"))?;
        self.codes
            .as_deref()
            .map_or(Ok(()), |codes| codes.parse().map(|_: StatusCodes| ()))
            .map_err(refused("codes"))?;
        number(self.count, MAX_COUNT).map_err(refused("count"))?;
        number(self.interval, MAX_INTERVAL).map_err(refused("interval"))?;
        self.host.as_deref().map_or(Ok(()), host).map_err(refused("host"))?;
        Ok(self)
    }
}

fn number(value: Option<u32>, max: u32) -> Result<(), BrokenRule> {
    if value.is_none_or(|value| (1..=max).contains(&value)) { Ok(()) } else { Err(message!("rule.number_range", max)) }
}

/// Checks a path of a health check.
///
/// # Errors
/// The rule that it breaks.
pub fn path(value: &str) -> Result<(), BrokenRule> {
    let fits = value.starts_with('/') && value.len() <= MAX_TEXT && value.bytes().all(|b| b.is_ascii_graphic());
    // A path with dots or a fragment is not requested as it is written.
    let is_kept = || {
        Url::parse(&format!("http://host{value}"))
            .is_ok_and(|url| url.as_str() == format!("http://host{value}") && url.fragment().is_none())
    };
    if fits && is_kept() { Ok(()) } else { Err(message!("rule.health_path", max = MAX_TEXT)) }
}

fn host(value: &str) -> Result<(), BrokenRule> {
    let (name, port) = value.split_once(':').map_or((value, None), |(name, port)| (name, Some(port)));
    let is_port = port
        .is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_name =
        value.len() <= MAX_TEXT && Host::parse(name).is_ok_and(|host| host.to_string() == name.to_ascii_lowercase());
    if is_port && is_name { Ok(()) } else { Err(message!("rule.health_host")) }
}

/// Status codes of a healthy service: ranges, each with its first and last code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCodes(Vec<(u16, u16)>);

impl StatusCodes {
    /// Returns true if the code is in one of the ranges.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl Default for StatusCodes {
    /// As a load balancer that knows redirects: 200 to 399.
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl FromStr for StatusCodes {
    type Err = BrokenRule;

    fn from_str(text: &str) -> Result<Self, BrokenRule> {
        let code = |text: &str| {
            let is_code = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|code| is_code && (200..=599).contains(code))
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((code(first.trim())?, code(last.trim())?)).filter(|(first, last)| first <= last)
        };
        let ranges: Option<Vec<_>> = text.split(',').take(MAX_RANGES + 1).map(|part| range(part.trim())).collect();
        let ranges = ranges.filter(|ranges| ranges.len() <= MAX_RANGES);
        ranges.map(Self).ok_or_else(|| message!("rule.health_codes", max = MAX_RANGES))
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range =
            |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        f.write_str(&self.0.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

/// The health check of a deployment, with all defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Paths to try, in this order.
    pub paths: Vec<String>,
    /// Status codes of a healthy service.
    pub codes: StatusCodes,
    /// Number of checks, from 1 to 20.
    pub count: u32,
    /// Time between two checks.
    pub interval: Duration,
    /// Value of the header `Host`, if not that of the URL.
    pub host: Option<String>,
    /// Set when green is not checked.
    pub skip: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            paths: vec!["/health".to_owned(), "/".to_owned()],
            codes: StatusCodes::default(),
            count: 5,
            interval: Duration::from_secs(2),
            host: None,
            skip: false,
        }
    }
}

impl HealthCheck {
    /// Replaces what a checked `spec` sets. Stored codes that this version cannot read are those of `self`.
    #[must_use]
    pub fn with(self, spec: &HealthCheckSpec) -> Self {
        Self {
            paths: spec.path.as_ref().map_or(self.paths, |path| vec![path.clone()]),
            codes: spec.codes.as_deref().and_then(|codes| codes.parse().ok()).unwrap_or(self.codes),
            count: spec.count.unwrap_or(self.count),
            interval: spec.interval.map_or(self.interval, |seconds| Duration::from_secs(seconds.into())),
            host: spec.host.clone().or(self.host),
            skip: spec.skip.unwrap_or(self.skip),
        }
    }

    /// Returns true if so many failed checks mean that green is unhealthy: more than two of five.
    pub fn is_failed(&self, failed: u32) -> bool {
        failed * 5 > self.count * 2
    }

    /// Describes the condition for messages in any language, such as `GET /health, /: 200-399`.
    pub fn condition(&self) -> String {
        let paths = text::cut(&self.paths.join(", "), 200);
        let host = self.host.as_ref().map(|host| format!(" (Host: {host})")).unwrap_or_default();
        format!("GET {paths}{host}: {}", self.codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: HealthCheckSpec) -> Option<String> {
        spec.checked().err().map(|refused| refused.field)
    }

    fn codes(text: &str) -> HealthCheckSpec {
        HealthCheckSpec { codes: Some(text.to_owned()), ..HealthCheckSpec::default() }
    }

    #[test]
    fn codes_are_those_of_a_load_balancer() {
        for (text, healthy, other) in
            [("200", 200, 201), ("200-399", 302, 401), ("200-399, 401", 401, 404), ("204,418", 418, 200)]
        {
            let codes: StatusCodes = text.parse().unwrap();
            assert!(codes.contain(healthy) && !codes.contain(other), "{text}");
        }
        assert_eq!("200-399, 401".parse::<StatusCodes>().unwrap().to_string(), "200-399,401");
        for wrong in [
            "",
            "20",
            "2000",
            "100-599",
            "600",
            "399-200",
            "200-",
            "-200",
            "200,,201",
            "+20",
            "200-300-400",
            "２００",
            "200;300",
        ] {
            assert_eq!(refused(codes(wrong)).as_deref(), Some("codes"), "{wrong:?}");
        }
        assert!(refused(codes(&["200"; 20].join(","))).is_none());
        assert!(refused(codes(&["200"; 21].join(","))).is_some());
    }

    #[test]
    fn path_is_requested_as_written() {
        let path = |text: &str| refused(HealthCheckSpec { path: Some(text.to_owned()), ..HealthCheckSpec::default() });
        for good in ["/", "/healthz", "/api/v1/health?deep=1", "/a%20b", "//x"] {
            assert_eq!(path(good), None, "{good}");
        }
        for wrong in [
            "",
            "health",
            "/a/../b",
            "/a#b",
            "/a b",
            "/한글",
            "/a\r\nHost: x",
            "http://169.254.169.254/",
            "/\u{0}",
            "/.",
            &format!("/{}", "a".repeat(1_024)),
        ] {
            assert_eq!(path(wrong).as_deref(), Some("path"), "{wrong:?}");
        }
    }

    #[test]
    fn host_is_a_name_with_an_optional_port() {
        let host = |text: &str| refused(HealthCheckSpec { host: Some(text.to_owned()), ..HealthCheckSpec::default() });
        for good in ["shop.example.com", "Shop.Example.com:8443", "localhost", "10.0.0.7:80"] {
            assert_eq!(host(good), None, "{good}");
        }
        for wrong in
            ["", "a b", "a\r\nX: y", "shop.example.com:0", "shop:", "shop:x", "a/b", "user@host", "http://shop"]
        {
            assert_eq!(host(wrong).as_deref(), Some("host"), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let count = |count| refused(HealthCheckSpec { count: Some(count), ..HealthCheckSpec::default() });
        let interval = |interval| refused(HealthCheckSpec { interval: Some(interval), ..HealthCheckSpec::default() });
        assert_eq!(
            [count(0), count(1), count(20), count(21)].map(|refused| refused.is_some()),
            [true, false, false, true]
        );
        assert_eq!(
            [interval(0), interval(1), interval(20), interval(21)].map(|refused| refused.is_some()),
            [true, false, false, true]
        );
    }

    #[test]
    fn options_replace_defaults_one_by_one() {
        let spec = HealthCheckSpec { path: Some("/live".to_owned()), ..codes("200") };
        let from_output = HealthCheckSpec { count: Some(1), ..codes("204") };
        let check = HealthCheck::default().with(&from_output.or(spec));
        assert_eq!((check.paths.as_slice(), check.count), (["/live".to_owned()].as_slice(), 1));
        assert!(check.codes.contain(204) && !check.codes.contain(200));
        assert_eq!(check.condition(), "GET /live: 204");
    }

    #[test]
    fn more_than_two_of_five_failures_are_too_many() {
        let check = |count| HealthCheck { count, ..HealthCheck::default() };
        assert_eq!([2, 3].map(|failed| check(5).is_failed(failed)), [false, true]);
        assert_eq!([0, 1].map(|failed| check(1).is_failed(failed)), [false, true]);
        assert_eq!([4, 5].map(|failed| check(10).is_failed(failed)), [false, true]);
    }
}
