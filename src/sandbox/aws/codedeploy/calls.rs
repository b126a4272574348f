//! The calls.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::accounts::{Caller, USER_ACCOUNT};
use super::super::super::effects::count;
use super::super::super::pipeline;
use super::super::super::world::{State, World};
use super::super::error::AwsError;
use super::super::{input, unknown};
use super::{Deployment, Status};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ById {
    deployment_id: Option<String>,
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
    deployment_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    application_name: Option<String>,
    include_only_statuses: Option<Vec<String>>,
}

pub fn call(world: &Arc<World>, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "GetDeployment" => {
            let wanted: ById = input(body)?;
            world.read(|state| {
                Ok(json!({"deploymentInfo": info(world, find(state, caller, wanted.deployment_id.as_deref())?)}))
            })
        }
        "BatchGetDeployments" => batch(world, caller, &input(body)?),
        "ListDeployments" => Ok(list(world, caller, &input(body)?)),
        "ContinueDeployment" => continue_deployment(world, caller, &input(body)?),
        "StopDeployment" => stop(world, caller, &input(body)?),
        "ListDeploymentTargets" => {
            let wanted: ById = input(body)?;
            world.read(|state| {
                Ok(json!({"targetIds": [find(state, caller, wanted.deployment_id.as_deref())?.target_id()]}))
            })
        }
        "BatchGetDeploymentTargets" => targets(world, caller, &input(body)?),
        other => Err(unknown("codedeploy", other)),
    }
}

fn info(world: &World, deployment: &Deployment) -> Value {
    deployment.info(world.timing.termination_wait.as_secs() / 60, world.timing.ready_timeout.as_secs() / 60)
}

fn batch(world: &World, caller: &Caller, wanted: &Batch) -> Result<Value, AwsError> {
    world.read(|state| {
        let found =
            wanted.deployment_ids.iter().map(|id| find(state, caller, Some(id)).map(|found| info(world, found)));
        Ok(json!({"deploymentsInfo": found.collect::<Result<Vec<_>, _>>()?}))
    })
}

fn list(world: &World, caller: &Caller, wanted: &List) -> Value {
    let fits = |deployment: &&Deployment| {
        caller.account == USER_ACCOUNT
            && wanted.application_name.as_ref().is_none_or(|name| deployment.application() == *name)
            && wanted
                .include_only_statuses
                .as_ref()
                .is_none_or(|list| list.iter().any(|one| one == deployment.status.name()))
    };
    world.read(|state| {
        let mut found: Vec<&Deployment> = state.deployments.values().filter(fits).collect();
        found.sort_by_key(|deployment| std::cmp::Reverse(deployment.created));
        json!({"deployments": found.iter().map(|deployment| &deployment.id).collect::<Vec<_>>()})
    })
}

fn continue_deployment(world: &Arc<World>, caller: &Caller, wanted: &Continue) -> Result<Value, AwsError> {
    let id = world.change(|state| {
        let found = find(state, caller, wanted.deployment_id.as_deref())?;
        let (id, repository, status) = (found.id.clone(), found.repository.clone(), found.status);
        if status.is_final() {
            return Err(AwsError::new(
                "DeploymentAlreadyCompletedException",
                format!("Deployment {id} has already completed."),
            ));
        }
        let Some(deployment) = state.deployments.get_mut(&id) else { return Err(missing(&id)) };
        match wanted.deployment_wait_type.as_deref().unwrap_or("READY_WAIT") {
            "READY_WAIT" if status == Status::Ready && !deployment.stopping => {
                deployment.status = Status::InProgress;
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
        pipeline::shift(world, id);
    }
    Ok(json!({}))
}

fn stop(world: &Arc<World>, caller: &Caller, wanted: &ById) -> Result<Value, AwsError> {
    let id = world.change(|state| {
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
        pipeline::stop(world, id, "the deployment was stopped by a call");
    }
    Ok(json!({"status": "Pending", "statusMessage": "The deployment is being stopped."}))
}

fn targets(world: &World, caller: &Caller, wanted: &Targets) -> Result<Value, AwsError> {
    world.read(|state| {
        let deployment = find(state, caller, wanted.deployment_id.as_deref())?;
        let own = deployment.target_id();
        if let Some(id) = wanted.target_ids.iter().flatten().find(|id| **id != own) {
            let message = format!("The deployment target {id} does not exist in deployment {}.", deployment.id);
            return Err(AwsError::new("DeploymentTargetDoesNotExistException", message));
        }
        Ok(json!({"deploymentTargets": [deployment.target()]}))
    })
}

fn find<'a>(state: &'a State, caller: &Caller, id: Option<&str>) -> Result<&'a Deployment, AwsError> {
    let id = id.ok_or_else(|| AwsError::new("DeploymentIdRequiredException", "The deployment ID was not provided."))?;
    if !id.starts_with("d-") {
        return Err(AwsError::new("InvalidDeploymentIdException", format!("{id} is not a valid deployment ID.")));
    }
    // Deployments are the user's account's; another account sees none of them.
    state.deployments.get(id).filter(|_| caller.account == USER_ACCOUNT).ok_or_else(|| missing(id))
}

fn missing(id: &str) -> AwsError {
    AwsError::new("DeploymentDoesNotExistException", format!("The deployment {id} could not be found."))
}
