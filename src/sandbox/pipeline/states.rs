//! The states of the pipeline, and what each really does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::aws::codedeploy::Status;
use super::super::ecs::{CLUSTER, Service};
use super::super::world::World;
use super::deployment;
use super::task::{Ended, Failure, Run, State};

/// How long a new deployment waits for the end of the one before it.
const LONGEST_WAIT_FOR_PREVIOUS: Duration = Duration::from_mins(1);

/// `EnsureInfra`, `RegisterTaskAndDeploy`, `CheckDeployment`, and, after the approval, the wait for the traffic.
pub async fn all(run: &mut Run) -> Result<(), Ended> {
    let world = Arc::clone(&run.world);
    let timing = &world.timing;
    let (repository, digest) = (run.repository.clone(), run.digest.clone());

    let ensure = State { name: "EnsureInfra", result_path: "infraResult", at_least: timing.ensure_infra };
    run.task(&ensure, ensure_infra(&world, &repository)).await?;

    let register = State { name: "RegisterTaskAndDeploy", result_path: "deployResult", at_least: timing.register_task };
    let deployed = run.task(&register, register_and_deploy(&world, &repository, &digest)).await?;
    let id = deployed["codeDeployDeploymentId"].as_str().unwrap_or_default().to_owned();

    let check = State { name: "CheckDeployment", result_path: "checkResult", at_least: Duration::ZERO };
    for _ in 0..=world.faults.get().check_again {
        run.task(&check, check_deployment(&world, &repository, &id)).await?;
    }

    let shift = State { name: "AwaitTrafficShift", result_path: "shiftResult", at_least: Duration::ZERO };
    run.task(&shift, traffic_shift(&world, &id)).await?;
    Ok(())
}

async fn ensure_infra(world: &Arc<World>, repository: &str) -> Result<Value, Failure> {
    let service =
        world.fleet.service(world, repository).await.map_err(|error| Failure::new("ECSServiceUnstable", &error))?;
    Ok(json!({"clusterName": CLUSTER, "serviceName": repository, "taskDefinition": service.task_definition()}))
}

async fn register_and_deploy(world: &Arc<World>, repository: &str, digest: &str) -> Result<Value, Failure> {
    let service = service_of(world, repository)?;
    make_way(world, repository).await?;
    let registry = world.registry().map_err(|error| Failure::new("ECRUnavailable", &error.message))?;
    let image = format!("{}/{repository}@{digest}", registry.host_port);
    let task_definition = service.register_task();
    let id = deployment::create(world, &service, repository, image, digest);
    let created =
        world.read(|state| state.deployments.get(&id).map(|created| (created.application(), created.group())));
    let (application, group) = created.unwrap_or_default();
    Ok(json!({
        "clusterName": CLUSTER, "serviceName": repository, "taskDefinition": task_definition,
        "blueService": {"serviceArn": service.arn("blue"), "url": service.production_url()},
        "greenService": {"serviceArn": service.arn("green"), "url": service.test_url()},
        "deploymentId": id, "codeDeployDeploymentId": id,
        "codeDeployApplicationName": application, "codeDeployDeploymentGroupName": group,
    }))
}

/// A deployment that still waits for its approval gives way to the new one; one whose traffic is moving is waited for.
async fn make_way(world: &Arc<World>, repository: &str) -> Result<(), Failure> {
    let active = |id: Option<&str>| {
        let id = id.map(str::to_owned);
        move |state: &super::super::world::State| {
            state
                .deployments
                .values()
                .find(|one| {
                    one.repository == repository && !one.status.is_final() && id.as_ref().is_none_or(|id| *id == one.id)
                })
                .map(|one| (one.id.clone(), one.status))
        }
    };
    let clear = async {
        while let Some((id, status)) = world.read(active(None)) {
            if status == Status::Ready {
                deployment::stop(world, id.clone(), "superseded by a newer deployment");
            }
            let look = active(Some(&id));
            // Until it has ended, or has become one that can give way.
            world
                .until(|state| {
                    look(state).is_none_or(|(_, now)| now == Status::Ready && status != Status::Ready).then_some(())
                })
                .await;
        }
    };
    tokio::time::timeout(LONGEST_WAIT_FOR_PREVIOUS, clear).await.map_err(|_| {
        let cause = format!("The Deployment Group '{repository}-group' already has an active Deployment");
        Failure::new("CodeDeploy.DeploymentLimitExceededException", &cause)
    })
}

/// Waits until green is ready for its approval, or has turned out to be broken.
async fn check_deployment(world: &Arc<World>, repository: &str, id: &str) -> Result<Value, Failure> {
    settled(world, id, |status| status != Status::InProgress).await?;
    let service = service_of(world, repository)?;
    let (blue, green) = service.target_groups();
    Ok(json!({
        "status": "WAITING_APPROVAL", "stage": "CHECK_DEPLOYMENT", "deploymentStatus": "Ready", "deploymentId": id,
        "checkResult": {"blueTargetGroupArn": blue, "greenTargetGroupArn": green},
        "blueUrl": service.production_url(), "greenUrl": service.test_url(),
    }))
}

async fn traffic_shift(world: &Arc<World>, id: &str) -> Result<Value, Failure> {
    settled(world, id, Status::is_final).await?;
    Ok(json!({"status": "SUCCEEDED", "deploymentId": id}))
}

/// Waits for a status; a deployment that failed or was stopped fails the task.
async fn settled(world: &Arc<World>, id: &str, wanted: impl Fn(Status) -> bool) -> Result<(), Failure> {
    let (status, error) = world
        .until(|state| {
            let found = state.deployments.get(id)?;
            wanted(found.status).then(|| (found.status, found.error().cloned()))
        })
        .await;
    let (code, message) = error.unwrap_or_default();
    match status {
        Status::Failed => Err(Failure::new("DeploymentFailed", &format!("{code}: {message}"))),
        Status::Stopped => Err(Failure::new("DeploymentStopped", &message)),
        _ => Ok(()),
    }
}

fn service_of(world: &World, repository: &str) -> Result<Arc<Service>, Failure> {
    world
        .fleet
        .running_service(repository)
        .ok_or_else(|| Failure::new("ServiceNotFoundException", &"Service not found."))
}
