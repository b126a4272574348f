//! The states of the pipeline, and the work of each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::accounts::CLUSTER;
use super::super::aws::codedeploy::BlueGreenStatus;
use super::super::aws::service_deployment::{RolloutStyle, ServiceDeploymentStatus};
use super::super::ecs::{EcsService, ServiceStart};
use super::super::faults::of_repository;
use super::super::simulation::{AwsState, Simulation};
use super::green::Green;
use super::task::{ExecutionEnded, ExecutionRun, TaskFailure, TaskState};
use super::{deployment, native};

/// Time for which a new deployment waits for the end of the previous one.
const PREVIOUS_LIMIT: Duration = Duration::from_mins(1);

/// Runs `EnsureInfra`, `RegisterTaskAndDeploy`, `CheckDeployment`, and, after the approval, the wait for the traffic.
pub async fn all(run: &mut ExecutionRun) -> Result<(), ExecutionEnded> {
    let simulation = Arc::clone(&run.simulation);
    let timing = &simulation.timing;
    let (repository, digest) = (run.repository.clone(), run.digest.clone());

    let ensure = TaskState { name: "EnsureInfra", result_path: "infraResult", at_least: timing.ensure_infra };
    run.task(&ensure, ensure_infra(&simulation, &repository)).await?;

    let register =
        TaskState { name: "RegisterTaskAndDeploy", result_path: "deployResult", at_least: timing.register_task };
    let mut id = String::new();
    run.task(&register, register_and_deploy(&simulation, &repository, &digest, &mut id)).await?;

    let check = TaskState { name: "CheckDeployment", result_path: "checkResult", at_least: Duration::ZERO };
    for _ in 0..=simulation.faults.get().check_again {
        run.task(&check, check_deployment(&simulation, &repository, &id)).await?;
    }

    let shift = TaskState { name: "AwaitTrafficShift", result_path: "shiftResult", at_least: Duration::ZERO };
    run.task(&shift, traffic_shift(&simulation, &repository, &id)).await?;
    Ok(())
}

async fn ensure_infra(simulation: &Arc<Simulation>, repository: &str) -> Result<Value, TaskFailure> {
    let start = ServiceStart {
        tasks: simulation.tasks.clone(),
        registry: simulation.registry().ok(),
        patience: simulation.timing.container_start,
    };
    let service = simulation
        .fleet
        .service(&start, repository)
        .await
        .map_err(|error| TaskFailure::new("ECSServiceUnstable", &error))?;
    Ok(json!({"clusterName": CLUSTER, "serviceName": repository, "taskDefinition": service.task_definition()}))
}

async fn register_and_deploy(
    simulation: &Arc<Simulation>,
    repository: &str,
    digest: &str,
    id: &mut String,
) -> Result<Value, TaskFailure> {
    let service = service_of(simulation, repository)?;
    stop_previous(simulation, repository).await?;
    let registry = simulation.registry().map_err(|error| TaskFailure::new("ECRUnavailable", &error.message))?;
    let image = format!("{}/{repository}@{digest}", registry.host_port);
    let task_definition = service.register_task();
    let green = Green { repository: repository.to_owned(), image, digest: digest.to_owned() };
    let mut output = json!({
        "clusterName": CLUSTER, "serviceName": repository, "taskDefinition": task_definition,
        "blueService": {"serviceArn": service.arn("blue"), "url": service.production_url()},
        "greenService": {"serviceArn": service.arn("green"), "url": service.test_url()},
    });
    let style = of_repository(&simulation.faults.get().rollouts, repository).copied().unwrap_or_default();
    if style == RolloutStyle::CodeDeploy {
        *id = deployment::create(simulation, &service, green);
        let shown = reported(simulation, repository, id);
        let created =
            simulation.read(|state| state.deployments.get(id).map(|created| (created.application(), created.group())));
        let (application, group) = created.unwrap_or_default();
        output["deploymentId"] = json!(shown);
        output["codeDeployDeploymentId"] = json!(shown);
        output["codeDeployApplicationName"] = json!(application);
        output["codeDeployDeploymentGroupName"] = json!(group);
    } else {
        *id = native::create(simulation, &service, green, style);
        output["serviceDeploymentArn"] = json!(reported(simulation, repository, id));
    }
    if let Some(check) = simulation.faults.get().green_health_check {
        output["greenHealthCheck"] = check;
    }
    Ok(output)
}

/// Stops a deployment that still waits for its approval; waits for the end of one whose traffic is moving.
async fn stop_previous(simulation: &Arc<Simulation>, repository: &str) -> Result<(), TaskFailure> {
    let active = |id: Option<&str>| {
        let id = id.map(str::to_owned);
        move |state: &AwsState| {
            let code_deploy = state.deployments.values().filter(|found| found.repository == repository);
            let native = state.service_deployments.values().filter(|found| found.repository == repository);
            let ids = code_deploy.map(|found| &found.id).chain(native.map(|found| &found.arn));
            ids.filter(|found| id.as_ref().is_none_or(|id| id == *found)).find_map(|id| {
                let (status, _) = status_of(state, id)?;
                (!status.is_final()).then(|| (id.clone(), status))
            })
        }
    };
    let clear = async {
        while let Some((id, status)) = simulation.read(active(None)) {
            if status == BlueGreenStatus::Ready {
                let why = "superseded by a newer deployment";
                if !native::roll_back(simulation, &id, why, None) {
                    deployment::stop(simulation, id.clone(), why);
                }
            }
            let look = active(Some(&id));
            // Wait until it has ended, or has become ready and can be stopped.
            simulation
                .until(|state| {
                    look(state)
                        .is_none_or(|(_, now)| now == BlueGreenStatus::Ready && status != BlueGreenStatus::Ready)
                        .then_some(())
                })
                .await;
        }
    };
    tokio::time::timeout(PREVIOUS_LIMIT, clear).await.map_err(|_| {
        let cause = format!("The Deployment Group '{repository}-group' already has an active Deployment");
        TaskFailure::new("CodeDeploy.DeploymentLimitExceededException", &cause)
    })
}

/// Waits until green is ready for approval, or has failed.
async fn check_deployment(simulation: &Arc<Simulation>, repository: &str, id: &str) -> Result<Value, TaskFailure> {
    settled(simulation, id, |status| status != BlueGreenStatus::InProgress).await?;
    let service = service_of(simulation, repository)?;
    let (blue, green) = service.target_groups();
    let id_key = if id.starts_with("d-") { "deploymentId" } else { "serviceDeploymentArn" };
    Ok(json!({
        "status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT", "deploymentStatus": "Ready", id_key: reported(simulation, repository, id),
        "checkResult": {"blueTargetGroupArn": blue, "greenTargetGroupArn": green},
        "blueUrl": service.production_url(), "greenUrl": service.test_url(),
    }))
}

/// The id that the pipeline reports for a rollout; empty if it reports none.
fn reported(simulation: &Simulation, repository: &str, id: &str) -> String {
    let faults = simulation.faults.get();
    if faults.unreported.contains(repository) || faults.unreported.contains("*") {
        return String::new();
    }
    faults.reported_deployment_id.unwrap_or_else(|| id.to_owned())
}

async fn traffic_shift(simulation: &Arc<Simulation>, repository: &str, id: &str) -> Result<Value, TaskFailure> {
    settled(simulation, id, BlueGreenStatus::is_final).await?;
    let unreported = reported(simulation, repository, id).is_empty();
    Ok(json!({"status": "SUCCEEDED", "deploymentId": if unreported { "" } else { id }}))
}

/// Waits for a status. A failed or stopped deployment fails the task.
async fn settled(
    simulation: &Arc<Simulation>,
    id: &str,
    wanted: impl Fn(BlueGreenStatus) -> bool,
) -> Result<(), TaskFailure> {
    let (status, error) = simulation.until(|state| status_of(state, id).filter(|(status, _)| wanted(*status))).await;
    let (code, message) = error.unwrap_or_default();
    match status {
        BlueGreenStatus::Failed => Err(TaskFailure::new("DeploymentFailed", &format!("{code}: {message}"))),
        BlueGreenStatus::Stopped => Err(TaskFailure::new("DeploymentStopped", &message)),
        _ => Ok(()),
    }
}

/// Status and error of a rollout of either back end, in CodeDeploy's terms.
fn status_of(state: &AwsState, id: &str) -> Option<(BlueGreenStatus, Option<(String, String)>)> {
    if let Some(found) = state.deployments.get(id) {
        return Some((found.status, found.error().cloned()));
    }
    let found = state.service_deployments.get(id)?;
    let status = match found.status {
        ServiceDeploymentStatus::Successful => BlueGreenStatus::Succeeded,
        ServiceDeploymentStatus::Stopped => BlueGreenStatus::Stopped,
        ServiceDeploymentStatus::RollbackSuccessful => BlueGreenStatus::Failed,
        // The first pause alone is that for the approval which the pipeline reports.
        _ if found.is_paused() && found.green == 0 => BlueGreenStatus::Ready,
        _ => BlueGreenStatus::InProgress,
    };
    let error = found.reason().map(|reason| (found.status.name().to_owned(), reason.to_owned()));
    Some((status, error))
}

fn service_of(simulation: &Simulation, repository: &str) -> Result<Arc<EcsService>, TaskFailure> {
    simulation
        .fleet
        .running_service(repository)
        .ok_or_else(|| TaskFailure::new("ServiceNotFoundException", &"Service not found."))
}
