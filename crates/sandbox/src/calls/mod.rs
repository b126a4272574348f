//! The calls of the AWS services, one file a service: typed input, and JSON (XML for STS, IAM and Elastic Load Balancing) as output, which the server sends as CBOR for CloudWatch.

mod cloudwatch;
mod codedeploy;
mod ecr;
mod ecs;
mod elb;
mod events;
mod iam;
mod secrets;
mod sfn;
mod sts;
pub mod xml;

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
    let answer = answer(simulation, caller, service, operation, body).await;
    answer.map_err(|error| incomplete(service, error))
}

async fn answer(
    simulation: &Arc<Simulation>,
    caller: &AwsCaller,
    service: AwsService,
    operation: &str,
    body: &[u8],
) -> Result<String, AwsError> {
    let answer = match service {
        AwsService::Sts => return sts::call(simulation, caller, operation, body),
        AwsService::Iam => return iam::call(simulation, caller, operation, body),
        AwsService::ElasticLoadBalancing => return elb::call(simulation, caller, operation, body).await,
        AwsService::Events => events::call(simulation, caller, operation, body).await?,
        AwsService::Ecr => ecr::call(simulation, caller, operation, body).await?,
        AwsService::SecretsManager => secrets::call(simulation, caller, operation, body)?,
        AwsService::StepFunctions => sfn::call(simulation, caller, operation, body)?,
        AwsService::CodeDeploy => codedeploy::call(simulation, caller, operation, body)?,
        AwsService::Ecs => ecs::call(simulation, caller, operation, body)?,
        AwsService::CloudWatch => cloudwatch::call(simulation, caller, operation, body)?,
    };
    Ok(answer.to_string())
}

/// Parses the call's input.
fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| AwsError::new("SerializationException", error.to_string()))
}

/// Services have a separate code for a missing member.
fn incomplete(service: AwsService, error: AwsError) -> AwsError {
    let member = error.message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (service, member.filter(|_| error.code == "SerializationException")) {
        (AwsService::Ecr, Some(member)) => {
            let message = format!("Invalid parameter at '{member}' failed to satisfy constraint: 'must not be null'");
            AwsError::new("InvalidParameterException", message)
        }
        (_, Some(member)) => {
            let message = format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
            );
            AwsError::new("ValidationException", message)
        }
        (_, None) => error,
    }
}

/// The error for a call that the sandbox does not support.
fn unknown(service: &str, operation: &str) -> AwsError {
    tracing::warn!(service, operation, "sandbox: unknown operation");
    AwsError::new("UnknownOperationException", format!("the sandbox does not support {service}:{operation}"))
}
