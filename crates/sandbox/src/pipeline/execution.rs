//! Runs one execution of the state machine.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::accounts::CONTROLLER_ACCOUNT;
use super::super::aws::sfn::SimulatedExecution;
use super::super::effects::count;
use super::super::faults::SecretFault;
use super::super::simulation::Simulation;
use super::states;
use super::task::ExecutionRun;

/// Starts the execution, writes its ARN into the secret, and runs the states.
pub async fn run(simulation: &Arc<Simulation>, event: Value) {
    tokio::time::sleep(simulation.timing.execution_start_delay).await;
    let detail = |name: &str| event["detail"][name].as_str().unwrap_or_default().to_owned();
    let (repository, digest) = (detail("repository-name"), detail("image-digest"));
    let execution = SimulatedExecution::start(&repository, event.to_string());
    let (arn, cancel) = (execution.arn().to_owned(), execution.cancel.clone());
    simulation.change(|state| {
        let effects = state.effects.of(&repository);
        count(&mut effects.executions, &digest);
        effects.execution_arns.push(arn.clone());
        state.executions.insert(arn.clone(), execution);
    });
    tracing::info!(repository, digest, execution = arn, "sandbox: execution started");
    let work = async {
        write_secret(simulation, &repository, &arn).await;
        let mut run = ExecutionRun::new(Arc::clone(simulation), arn.clone(), repository.clone(), digest, event);
        if states::all(&mut run).await.is_ok() {
            run.succeed();
        }
    };
    // Boxed: the futures of all states together are large.
    cancel.run_until_cancelled(Box::pin(work)).await;
}

/// Writes the execution's ARN into the secret, from which clients learn of the execution.
async fn write_secret(simulation: &Arc<Simulation>, repository: &str, arn: &str) {
    let faults = simulation.faults.get();
    tokio::time::sleep(Duration::from_millis(faults.secret_delay_ms)).await;
    let value = match faults.secret {
        SecretFault::Written => Some(json!({"executionArn": arn}).to_string()),
        SecretFault::Malformed => Some("pending".to_owned()),
        SecretFault::NotWritten => None,
    };
    if let Some(value) = value {
        let name = format!("panda/stepfunctions/{repository}-latest-execution");
        simulation.before_change();
        simulation.change(|state| state.secrets.write(CONTROLLER_ACCOUNT, &name, value));
        simulation.after_change();
    }
}
