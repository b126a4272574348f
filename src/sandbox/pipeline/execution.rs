//! One execution from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::accounts::CONTROLLER_ACCOUNT;
use super::super::aws::sfn::Execution;
use super::super::effects::count;
use super::super::faults::SecretFault;
use super::super::world::World;
use super::states;
use super::task::Run;

/// Starts the execution, writes its ARN into the secret, and goes through the states.
pub async fn run(world: &Arc<World>, event: Value) {
    tokio::time::sleep(world.timing.execution_start_delay).await;
    let detail = |name: &str| event["detail"][name].as_str().unwrap_or_default().to_owned();
    let (repository, digest) = (detail("repository-name"), detail("image-digest"));
    let execution = Execution::start(&repository, event.to_string());
    let (arn, cancel) = (execution.arn().to_owned(), execution.cancel.clone());
    world.change(|state| {
        let effects = state.effects.of(&repository);
        count(&mut effects.executions, &digest);
        effects.execution_arns.push(arn.clone());
        state.executions.insert(arn.clone(), execution);
    });
    tracing::info!(repository, digest, execution = arn, "sandbox: execution started");
    let work = async {
        tell(world, &repository, &arn).await;
        let mut run = Run::new(Arc::clone(world), arn.clone(), repository.clone(), digest, event);
        if states::all(&mut run).await.is_ok() {
            run.succeed();
        }
    };
    // On the heap: all the states' futures together are large.
    cancel.run_until_cancelled(Box::pin(work)).await;
}

/// The pipeline's first act: the secret is how anybody learns of the execution.
async fn tell(world: &Arc<World>, repository: &str, arn: &str) {
    let faults = world.faults.get();
    tokio::time::sleep(Duration::from_millis(faults.secret_delay_ms)).await;
    if faults.secret == SecretFault::Written {
        let name = format!("panda/stepfunctions/{repository}-latest-execution");
        let value = json!({"executionArn": arn}).to_string();
        world.change(|state| state.secrets.write(CONTROLLER_ACCOUNT, &name, value));
    }
}
