//! The API calls of `CodeDeploy`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::{AwsCaller, USER_ACCOUNT};
use crate::aws::codedeploy::{BlueGreenDeployment, BlueGreenStatus};
use crate::aws::error::AwsError;
use crate::effects::count;
use crate::pipeline;
use crate::simulation::{AwsState, Simulation};

/// CodeDeploy's limit for the ids of one call.
const LARGEST_BATCH: usize = 25;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ById {
    deployment_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByConfiguration {
    deployment_config_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Continue {
    deployment_id: Option<String>,
    deployment_wait_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    deployment_id: Option<String>,
    target_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    #[serde(default)]
    deployment_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    application_name: Option<String>,
    deployment_group_name: Option<String>,
    include_only_statuses: Option<Vec<String>>,
}

pub fn call(simulation: &Arc<Simulation>, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "GetDeployment" => {
            let wanted: ById = input(body)?;
            simulation.read(|state| {
                Ok(json!({"deploymentInfo": info(simulation, find(state, caller, wanted.deployment_id.as_deref())?)}))
            })
        }
        "BatchGetDeployments" => batch(simulation, caller, &input(body)?),
        "ListDeployments" => list(simulation, caller, &input(body)?),
        "ContinueDeployment" => continue_deployment(simulation, caller, &input(body)?),
        "StopDeployment" => stop(simulation, caller, &input(body)?),
        "ListDeploymentTargets" => {
            let wanted: ById = input(body)?;
            simulation.read(|state| {
                started(simulation, find(state, caller, wanted.deployment_id.as_deref())?)?;
                Ok(json!({"targetIds": [find(state, caller, wanted.deployment_id.as_deref())?.target_id()]}))
            })
        }
        "GetDeploymentGroup" => group(simulation, caller, &input(body)?),
        "GetDeploymentConfig" => configuration(simulation, &input(body)?),
        "BatchGetDeploymentTargets" => targets(simulation, caller, &input(body)?),
        other => Err(unknown("codedeploy", other)),
    }
}

fn info(simulation: &Simulation, deployment: &BlueGreenDeployment) -> Value {
    let mut info = deployment.info(simulation.timing.termination_wait.as_secs() / 60);
    if is_queued(simulation, deployment) {
        info["status"] = json!("Queued");
    }
    if let Some(configuration) = simulation.faults.get().code_deploy_configuration {
        info["deploymentConfigName"] = json!(configuration.name);
    }
    info
}

/// True while the fault shows the deployment as queued.
fn is_queued(simulation: &Simulation, deployment: &BlueGreenDeployment) -> bool {
    simulation.faults.get().code_deploy_queued && !deployment.status.is_final() && !deployment.stopping
}

/// Rejects calls about the targets of a deployment that has none yet.
fn started(simulation: &Simulation, deployment: &BlueGreenDeployment) -> Result<(), AwsError> {
    if is_queued(simulation, deployment) {
        let message = format!("The deployment {} has not started.", deployment.id);
        return Err(AwsError::new("DeploymentNotStartedException", message));
    }
    Ok(())
}

/// Percentage that a canary configuration of the sandbox moves first.
const CANARY_PERCENTAGE: u8 = 10;

fn configuration(simulation: &Simulation, wanted: &ByConfiguration) -> Result<Value, AwsError> {
    let name = wanted.deployment_config_name.as_deref().ok_or_else(|| {
        AwsError::new("DeploymentConfigNameRequiredException", "The deployment configuration name was not specified.")
    })?;
    let routing = match simulation.faults.get().code_deploy_configuration {
        Some(canary) if canary.name == name => json!({
            "type": "TimeBasedCanary",
            "timeBasedCanary": {"canaryPercentage": CANARY_PERCENTAGE, "canaryInterval": canary.interval_minutes},
        }),
        _ if name == "CodeDeployDefault.ECSAllAtOnce" => json!({"type": "AllAtOnce"}),
        _ => {
            let message = format!("No Deployment Configuration found for name: {name}");
            return Err(AwsError::new("DeploymentConfigDoesNotExistException", message));
        }
    };
    Ok(json!({"deploymentConfigInfo": {
        "deploymentConfigName": name, "computePlatform": "ECS", "trafficRoutingConfig": routing,
    }}))
}

/// The group of a deployment: the sandbox has applications and groups only through their deployments.
fn group(simulation: &Simulation, caller: &AwsCaller, wanted: &List) -> Result<Value, AwsError> {
    let name = |value: &Option<String>, code: &str| {
        value.clone().ok_or_else(|| AwsError::new(code, "The name was not specified."))
    };
    let application = name(&wanted.application_name, "ApplicationNameRequiredException")?;
    let group = name(&wanted.deployment_group_name, "DeploymentGroupNameRequiredException")?;
    simulation.read(|state| {
        let of_account = state.deployments.values().filter(|_| caller.account == USER_ACCOUNT);
        let mut of_application = of_account.filter(|found| found.application() == application).peekable();
        if of_application.peek().is_none() {
            let message = format!("No application found for name: {application}");
            return Err(AwsError::new("ApplicationDoesNotExistException", message));
        }
        if !of_application.any(|found| found.group() == group) {
            let message = format!("No Deployment Group found for name: {group}");
            return Err(AwsError::new("DeploymentGroupDoesNotExistException", message));
        }
        Ok(json!({"deploymentGroupInfo": {
            "applicationName": application, "deploymentGroupName": group, "computePlatform": "ECS",
            "blueGreenDeploymentConfiguration": {
                "deploymentReadyOption": {"actionOnTimeout": "STOP_DEPLOYMENT", "waitTimeInMinutes": 60},
            },
        }}))
    })
}

fn batch(simulation: &Simulation, caller: &AwsCaller, wanted: &Batch) -> Result<Value, AwsError> {
    if wanted.deployment_ids.is_empty() {
        return Err(AwsError::new("DeploymentIdRequiredException", "The deployment ID was not provided."));
    }
    if wanted.deployment_ids.len() > LARGEST_BATCH {
        return Err(AwsError::new("BatchLimitExceededException", "The maximum number of deployments is 25."));
    }
    let left_out = usize::from(simulation.faults.partial("codedeploy:BatchGetDeployments").is_some());
    simulation.read(|state| {
        let mut found = Vec::new();
        for id in wanted.deployment_ids.iter().skip(left_out) {
            match find(state, caller, Some(id)) {
                Ok(deployment) => found.push(info(simulation, deployment)),
                // Unknown deployments are left out: the call has no error for them.
                Err(error) if error.code == "DeploymentDoesNotExistException" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(json!({"deploymentsInfo": found}))
    })
}

fn list(simulation: &Simulation, caller: &AwsCaller, wanted: &List) -> Result<Value, AwsError> {
    // One without the other is refused.
    match (&wanted.application_name, &wanted.deployment_group_name) {
        (Some(_), None) => {
            let message = "If applicationName is specified, then deploymentGroupName must be specified.";
            return Err(AwsError::new("DeploymentGroupNameRequiredException", message));
        }
        (None, Some(_)) => {
            let message = "If deploymentGroupName is specified, applicationName must be specified.";
            return Err(AwsError::new("ApplicationNameRequiredException", message));
        }
        _ => {}
    }
    let fits = |deployment: &&BlueGreenDeployment| {
        caller.account == USER_ACCOUNT
            && wanted.application_name.as_ref().is_none_or(|name| deployment.application() == *name)
            && wanted.deployment_group_name.as_ref().is_none_or(|name| deployment.group() == *name)
            && wanted
                .include_only_statuses
                .as_ref()
                .is_none_or(|list| list.iter().any(|status| status == deployment.status.name()))
    };
    simulation.read(|state| {
        let mut found: Vec<&BlueGreenDeployment> = state.deployments.values().filter(fits).collect();
        found.sort_by_key(|deployment| std::cmp::Reverse(deployment.created));
        Ok(json!({"deployments": found.iter().map(|deployment| &deployment.id).collect::<Vec<_>>()}))
    })
}

fn continue_deployment(simulation: &Arc<Simulation>, caller: &AwsCaller, wanted: &Continue) -> Result<Value, AwsError> {
    let id = simulation.change(|state| {
        let found = find(state, caller, wanted.deployment_id.as_deref())?;
        let (id, repository, status) = (found.id.clone(), found.repository.clone(), found.status);
        if is_queued(simulation, found) {
            let message = format!("The deployment {id} is not in the ready state: Queued");
            return Err(AwsError::new("DeploymentIsNotInReadyStateException", message));
        }
        if status.is_final() {
            return Err(AwsError::new(
                "DeploymentAlreadyCompletedException",
                format!("Deployment {id} has already completed."),
            ));
        }
        let Some(deployment) = state.deployments.get_mut(&id) else { return Err(missing(&id)) };
        match wanted.deployment_wait_type.as_deref().unwrap_or("READY_WAIT") {
            "READY_WAIT" if status == BlueGreenStatus::Ready && !deployment.stopping => {
                deployment.status = BlueGreenStatus::InProgress;
                count(&mut state.effects.of(&repository).continued, &id);
                Ok(Some(id))
            }
            "READY_WAIT" => {
                let message = format!("The deployment {id} is not in the ready state: {}", status.name());
                Err(AwsError::new("DeploymentIsNotInReadyStateException", message))
            }
            "TERMINATION_WAIT" if deployment.has_shifted() => {
                deployment.terminate_now = true;
                Ok(None)
            }
            "TERMINATION_WAIT" => Err(AwsError::new(
                "InvalidDeploymentStatusException",
                format!("The deployment {id} is not waiting for termination."),
            )),
            other => Err(AwsError::new("InvalidDeploymentWaitTypeException", format!("{other} is not a wait type."))),
        }
    })?;
    if let Some(id) = id {
        pipeline::shift(simulation, id);
    }
    Ok(json!({}))
}

fn stop(simulation: &Arc<Simulation>, caller: &AwsCaller, wanted: &ById) -> Result<Value, AwsError> {
    let id = simulation.change(|state| {
        let found = find(state, caller, wanted.deployment_id.as_deref())?;
        let (id, repository) = (found.id.clone(), found.repository.clone());
        if found.status.is_final() {
            return Err(AwsError::new(
                "DeploymentAlreadyCompletedException",
                format!("Deployment {id} has already completed."),
            ));
        }
        let Some(deployment) = state.deployments.get_mut(&id) else { return Err(missing(&id)) };
        let first = !std::mem::replace(&mut deployment.stopping, true);
        if first {
            count(&mut state.effects.of(&repository).stopped, &id);
        }
        Ok(first.then_some(id))
    })?;
    if let Some(id) = id {
        pipeline::stop(simulation, id, "the deployment was stopped by a call");
    }
    Ok(json!({"status": "Pending", "statusMessage": "The deployment is being stopped."}))
}

fn targets(simulation: &Simulation, caller: &AwsCaller, wanted: &Targets) -> Result<Value, AwsError> {
    let left_out = simulation.faults.partial("codedeploy:BatchGetDeploymentTargets").is_some();
    simulation.read(|state| {
        let deployment = find(state, caller, wanted.deployment_id.as_deref())?;
        started(simulation, deployment)?;
        let own = deployment.target_id();
        if let Some(id) = wanted.target_ids.iter().flatten().find(|id| **id != own) {
            let message = format!("The deployment target {id} does not exist in deployment {}.", deployment.id);
            return Err(AwsError::new("DeploymentTargetDoesNotExistException", message));
        }
        let canary = simulation.faults.get().code_deploy_configuration.is_some();
        let first_part = canary.then_some(CANARY_PERCENTAGE);
        let targets: Vec<Value> = (!left_out).then(|| deployment.target(first_part)).into_iter().collect();
        Ok(json!({"deploymentTargets": targets}))
    })
}

fn find<'a>(state: &'a AwsState, caller: &AwsCaller, id: Option<&str>) -> Result<&'a BlueGreenDeployment, AwsError> {
    let id = id.ok_or_else(|| AwsError::new("DeploymentIdRequiredException", "The deployment ID was not provided."))?;
    if !id.starts_with("d-") {
        return Err(AwsError::new("InvalidDeploymentIdException", format!("{id} is not a valid deployment ID.")));
    }
    // Deployments belong to the user's account; other accounts see none.
    state.deployments.get(id).filter(|_| caller.account == USER_ACCOUNT).ok_or_else(|| missing(id))
}

fn missing(id: &str) -> AwsError {
    AwsError::new("DeploymentDoesNotExistException", format!("The deployment {id} could not be found."))
}
