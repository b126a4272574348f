//! Metrics of requests to the API, and the program's version.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Histogram buckets in seconds, from an indexed read to the time limit of a request.
const REQUEST_BUCKETS: [f64; 9] = [0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Label values: the classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Metrics of requests. Clones share the values.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<StatusLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
}

impl HttpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
        };
        for status in CLASSES {
            drop(new.requests.get_or_create(&StatusLabels { status }));
        }
        new.register_routes(["none"]);
        registry.register(
            "http_requests",
            "Answered requests to the API by class of the status; an event stream counts at its first byte",
            new.requests.clone(),
        );
        registry.register_with_unit(
            "http_request",
            "Time until the head of the response, by route; none for unknown paths",
            Unit::Seconds,
            new.seconds.clone(),
        );
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "1, with the version of the program", build);
        new
    }

    /// Creates the series of `routes`, so that a rate includes the first request.
    pub fn register_routes<'a>(&self, routes: impl IntoIterator<Item = &'a str>) {
        for route in routes {
            drop(self.seconds.get_or_create(&RouteLabels { route: route.to_owned() }));
        }
    }

    /// Counts an answered request. `status` is the response's code.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(status) = CLASSES.get(class) {
            self.requests.get_or_create(&StatusLabels { status }).inc();
        }
        self.seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(took.as_secs_f64());
    }
}
