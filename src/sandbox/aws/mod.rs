//! The services, one file each: typed input in, JSON (or, for STS, XML) out.

pub mod codedeploy;
pub mod ecr;
pub mod error;
pub mod events;
pub mod secrets;
pub mod sfn;
pub mod sts;
pub mod trust;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use super::accounts::Caller;
use super::wire::Service;
use super::world::World;
use error::AwsError;

/// Carries out one call; the answer is the body to send.
pub async fn dispatch(
    world: &Arc<World>,
    caller: &Caller,
    service: Service,
    operation: &str,
    body: &[u8],
) -> Result<String, AwsError> {
    let answer = match service {
        Service::Sts => return sts::call(world, caller, operation, body),
        Service::Events => events::call(world, caller, operation, body).await?,
        Service::Ecr => ecr::call(world, caller, operation, body).await?,
        Service::SecretsManager => secrets::call(world, caller, operation, body)?,
        Service::StepFunctions => sfn::call(world, caller, operation, body)?,
        Service::CodeDeploy => codedeploy::call(world, caller, operation, body)?,
    };
    Ok(answer.to_string())
}

/// The call's input, or the error of a malformed one.
fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| AwsError::new("SerializationException", error.to_string()))
}

/// The answer to a call that is not played here.
fn unknown(service: &str, operation: &str) -> AwsError {
    tracing::warn!(service, operation, "sandbox: unknown operation");
    AwsError::new("UnknownOperationException", format!("the sandbox does not play {service}:{operation}"))
}

/// Seconds since 1970 with milliseconds, the way JSON protocols tell the time.
pub fn epoch(time: DateTime<Utc>) -> f64 {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    Duration::from_millis(millis).as_secs_f64()
}
