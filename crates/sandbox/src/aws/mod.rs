//! The state of each AWS service, one file a service.

pub mod codedeploy;
pub mod ecr;
pub mod error;
pub mod events;
pub mod secrets;
pub mod service;
pub mod service_deployment;
pub mod sfn;
pub mod trust;

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Seconds since 1970 with milliseconds, the time format of the JSON protocols.
pub fn epoch(time: DateTime<Utc>) -> f64 {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    Duration::from_millis(millis).as_secs_f64()
}
