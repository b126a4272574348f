//! The calls of the AWS services, one file a service: typed input, and JSON (XML for STS) as output.

mod codedeploy;
mod ecr;
mod events;
mod secrets;
mod sfn;
pub mod sts;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::accounts::AwsCaller;
use crate::aws::error::AwsError;
use crate::aws::service::AwsService;
use crate::simulation::Simulation;

/// Carries out one call. Returns the body of the response.
pub async fn dispatch(
    simulation: &Arc<Simulation>,
    caller: &AwsCaller,
    service: AwsService,
    operation: &str,
    body: &[u8],
) -> Result<String, AwsError> {
    let answer = match service {
        AwsService::Sts => return sts::call(simulation, caller, operation, body),
        AwsService::Events => events::call(simulation, caller, operation, body).await?,
        AwsService::Ecr => ecr::call(simulation, caller, operation, body).await?,
        AwsService::SecretsManager => secrets::call(simulation, caller, operation, body)?,
        AwsService::StepFunctions => sfn::call(simulation, caller, operation, body)?,
        AwsService::CodeDeploy => codedeploy::call(simulation, caller, operation, body)?,
    };
    Ok(answer.to_string())
}

/// Parses the call's input.
fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| AwsError::new("SerializationException", error.to_string()))
}

/// The error for a call that the sandbox does not support.
fn unknown(service: &str, operation: &str) -> AwsError {
    tracing::warn!(service, operation, "sandbox: unknown operation");
    AwsError::new("UnknownOperationException", format!("the sandbox does not support {service}:{operation}"))
}
