//! The API calls of ECS about service deployments.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::{AwsCaller, CLUSTER, USER_ACCOUNT};
use crate::aws::error::AwsError;
use crate::aws::service_deployment::ServiceDeployment;
use crate::effects::count;
use crate::pipeline::native;
use crate::simulation::{AwsState, Simulation};

/// ECS's limit for the ARNs of one call.
const LARGEST_BATCH: usize = 20;

/// ECS's limit for the service deployments of one page.
const LARGEST_PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    service: String,
    cluster: Option<String>,
    status: Option<Vec<String>>,
    created_at: Option<Created>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Deserialize)]
struct Created {
    after: Option<f64>,
    before: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    service_deployment_arns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revisions {
    service_revision_arns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Continue {
    service_deployment_arn: String,
    hook_id: String,
    action: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    service_deployment_arn: String,
    stop_type: Option<String>,
}

pub fn call(simulation: &Arc<Simulation>, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "ListServiceDeployments" => list(simulation, caller, &input(body)?),
        "DescribeServiceDeployments" => describe(simulation, caller, &input::<Describe>(body)?),
        "DescribeServiceRevisions" => revisions(simulation, caller, &input::<Revisions>(body)?),
        "ContinueServiceDeployment" => continue_deployment(simulation, caller, &input(body)?),
        "StopServiceDeployment" => stop(simulation, caller, &input(body)?),
        other => Err(unknown("ecs", other)),
    }
}

/// The deployments that the caller's account has.
fn own<'a>(state: &'a AwsState, caller: &AwsCaller) -> impl Iterator<Item = &'a ServiceDeployment> {
    let owner = caller.account == USER_ACCOUNT;
    state.service_deployments.values().filter(move |_| owner)
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", message)
}

fn limited(arns: &[String]) -> Result<(), AwsError> {
    if arns.is_empty() || arns.len() > LARGEST_BATCH {
        return Err(invalid(format!("The request must have 1 to {LARGEST_BATCH} ARNs.")));
    }
    Ok(())
}

fn failures(arns: &[String], found: &[&str]) -> Vec<Value> {
    let missing = arns.iter().filter(|arn| !found.contains(&arn.as_str()));
    missing.map(|arn| json!({"arn": arn, "reason": "MISSING"})).collect()
}

fn list(simulation: &Simulation, caller: &AwsCaller, wanted: &List) -> Result<Value, AwsError> {
    let cluster = wanted.cluster.as_deref().unwrap_or("default");
    if cluster.rsplit('/').next() != Some(CLUSTER) {
        return Err(AwsError::new("ClusterNotFoundException", "Cluster not found."));
    }
    let service = wanted.service.rsplit('/').next().unwrap_or_default();
    if caller.account != USER_ACCOUNT || simulation.fleet.running_service(service).is_none() {
        return Err(AwsError::new("ServiceNotFoundException", "Service not found."));
    }
    let within = |deployment: &ServiceDeployment| {
        let created = crate::aws::epoch(deployment.created);
        let range = wanted.created_at.as_ref();
        range.and_then(|range| range.after).is_none_or(|after| created > after)
            && range.and_then(|range| range.before).is_none_or(|before| created < before)
    };
    simulation.read(|state| {
        let mut found: Vec<&ServiceDeployment> = own(state, caller)
            .filter(|deployment| deployment.repository == service && within(deployment))
            .filter(|found| {
                wanted.status.as_ref().is_none_or(|list| list.iter().any(|name| name == found.status.name()))
            })
            .collect();
        found.sort_by_key(|deployment| std::cmp::Reverse(deployment.created));
        let begin = wanted
            .next_token
            .as_deref()
            .map_or(Ok(0), |token| token.parse::<usize>().map_err(|_| invalid("nextToken")))?;
        let end = begin.saturating_add(wanted.max_results.unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE));
        let page = found.iter().skip(begin).take(end - begin).map(|deployment| deployment.brief());
        let mut answer = json!({"serviceDeployments": page.collect::<Vec<_>>()});
        if end < found.len() {
            answer["nextToken"] = json!(end.to_string());
        }
        Ok(answer)
    })
}

fn describe(simulation: &Simulation, caller: &AwsCaller, wanted: &Describe) -> Result<Value, AwsError> {
    let arns = &wanted.service_deployment_arns;
    limited(arns)?;
    let bake = simulation.timing.termination_wait.as_secs() / 60;
    let left_out = usize::from(simulation.faults.partial("ecs:DescribeServiceDeployments").is_some());
    simulation.read(|state| {
        let found: Vec<&ServiceDeployment> = own(state, caller)
            .filter(|deployment| arns.iter().skip(left_out).any(|arn| *arn == deployment.arn))
            .collect();
        let known: Vec<&str> = found.iter().map(|deployment| deployment.arn.as_str()).collect();
        let shown: Vec<Value> = found.iter().map(|deployment| deployment.described(bake)).collect();
        Ok(json!({"serviceDeployments": shown, "failures": failures(arns, &known)}))
    })
}

fn revisions(simulation: &Simulation, caller: &AwsCaller, wanted: &Revisions) -> Result<Value, AwsError> {
    let arns = &wanted.service_revision_arns;
    limited(arns)?;
    simulation.read(|state| {
        let found: Vec<(String, Value)> = own(state, caller)
            .map(|deployment| (deployment.target_revision(), deployment.described_revision()))
            .filter(|(arn, _)| arns.contains(arn))
            .collect();
        let known: Vec<&str> = found.iter().map(|(arn, _)| arn.as_str()).collect();
        let missing = failures(arns, &known);
        Ok(json!({"serviceRevisions": found.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>(), "failures": missing}))
    })
}

fn find<'a>(state: &'a mut AwsState, caller: &AwsCaller, arn: &str) -> Result<&'a mut ServiceDeployment, AwsError> {
    let found = state.service_deployments.get_mut(arn).filter(|_| caller.account == USER_ACCOUNT);
    found.ok_or_else(|| AwsError::new("ServiceDeploymentNotFoundException", "The service deployment was not found."))
}

fn continue_deployment(simulation: &Arc<Simulation>, caller: &AwsCaller, wanted: &Continue) -> Result<Value, AwsError> {
    let arn = wanted.service_deployment_arn.as_str();
    let rolls_back = match wanted.action.as_deref().unwrap_or("CONTINUE") {
        "CONTINUE" => false,
        "ROLLBACK" => true,
        other => return Err(invalid(format!("{other} is not an action."))),
    };
    simulation.change(|state| {
        let deployment = find(state, caller, arn)?;
        let waits = deployment.is_paused() && deployment.hook.as_ref().is_some_and(|hook| hook.id == wanted.hook_id);
        if !waits {
            return Err(invalid("The lifecycle hook is not awaiting an action."));
        }
        let repository = deployment.repository.clone();
        if rolls_back {
            count(&mut state.effects.of(&repository).stopped, arn);
        } else {
            deployment.answer("SUCCEEDED");
            count(&mut state.effects.of(&repository).continued, arn);
        }
        Ok(())
    })?;
    if rolls_back {
        native::roll_back(simulation, arn, "Service deployment rolled back at its lifecycle hook.", None);
    }
    Ok(json!({"serviceDeploymentArn": arn}))
}

fn stop(simulation: &Arc<Simulation>, caller: &AwsCaller, wanted: &Stop) -> Result<Value, AwsError> {
    let arn = wanted.service_deployment_arn.as_str();
    let repository = simulation.change(|state| {
        let deployment = find(state, caller, arn)?;
        if deployment.status.advances() {
            return Ok(deployment.repository.clone());
        }
        Err(AwsError::new("ConflictException", "The service deployment is not in progress."))
    })?;
    let stopped = match wanted.stop_type.as_deref().unwrap_or("ROLLBACK") {
        "ROLLBACK" => native::roll_back(simulation, arn, "Service deployment was stopped by a call.", None),
        "ABORT" => native::abort(simulation, arn),
        other => return Err(invalid(format!("{other} is not a stop type."))),
    };
    if stopped {
        simulation.change(|state| count(&mut state.effects.of(&repository).stopped, arn));
    }
    Ok(json!({"serviceDeploymentArn": arn}))
}
