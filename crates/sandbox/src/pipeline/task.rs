//! Runs a task state and records its history events, in the format of a Lambda invocation with a result path.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::accounts::{CONTROLLER_ACCOUNT, REGION};
use super::super::aws::sfn::{SfnStatus, SimulatedExecution};
use super::super::faults::{ExecutionFault, Faults, Outcome, of_repository};
use super::super::simulation::Simulation;

/// Error and cause, as Step Functions reports them.
#[derive(Debug)]
pub struct TaskFailure {
    pub error: String,
    pub cause: String,
}

impl TaskFailure {
    pub fn new(error: &str, cause: &impl ToString) -> Self {
        Self { error: error.to_owned(), cause: cause.to_string() }
    }
}

/// The execution has ended, and its last event is recorded.
#[derive(Debug)]
pub struct ExecutionEnded;

/// A task state: its name, the result path in the data, and its minimum duration.
pub struct TaskState {
    pub name: &'static str,
    pub result_path: &'static str,
    pub at_least: Duration,
}

pub struct ExecutionRun {
    pub simulation: Arc<Simulation>,
    pub repository: String,
    pub digest: String,
    arn: String,
    /// Input of the next state.
    data: Value,
}

impl ExecutionRun {
    pub fn new(simulation: Arc<Simulation>, arn: String, repository: String, digest: String, data: Value) -> Self {
        Self { simulation, repository, digest, arn, data }
    }

    /// Runs one state. The result of `work` becomes the Lambda's payload.
    pub async fn task(
        &mut self,
        state: &TaskState,
        work: impl Future<Output = Result<Value, TaskFailure>>,
    ) -> Result<Value, ExecutionEnded> {
        let name = state.name;
        let input = self.data.to_string();
        self.record(
            "TaskStateEntered",
            "stateEnteredEventDetails",
            json!({"name": name, "input": input, "inputDetails": whole()}),
        );
        let function = format!("arn:aws:lambda:{REGION}:{CONTROLLER_ACCOUNT}:function:panda-{name}");
        let parameters = json!({"FunctionName": function, "Payload": self.data}).to_string();
        let scheduled =
            json!({"resourceType": "lambda", "resource": "invoke", "region": REGION, "parameters": parameters});
        self.record("TaskScheduled", "taskScheduledEventDetails", scheduled);
        self.record("TaskStarted", "taskStartedEventDetails", json!({"resourceType": "lambda", "resource": "invoke"}));
        self.apply_fault(name).await?;
        let (result, ()) = tokio::join!(work, tokio::time::sleep(state.at_least));
        match result {
            Ok(payload) => {
                self.leave(state, &payload);
                Ok(payload)
            }
            Err(failure) => {
                self.fail_task(&failure);
                Err(self.end(SfnStatus::Failed, Some(failure)))
            }
        }
    }

    /// Ends the execution successfully.
    pub fn succeed(&self) {
        self.change(|execution| execution.succeed(self.data.to_string()));
    }

    fn leave(&mut self, state: &TaskState, payload: &Value) {
        let wrapped =
            if self.simulation.faults.get().payload_as_text { json!(payload.to_string()) } else { payload.clone() };
        let result = json!({"ExecutedVersion": "$LATEST", "Payload": wrapped, "StatusCode": 200});
        let succeeded = json!({"resourceType": "lambda", "resource": "invoke", "output": result.to_string(), "outputDetails": whole()});
        self.record("TaskSucceeded", "taskSucceededEventDetails", succeeded);
        self.data[state.result_path] = result;
        self.exit(state.name);
    }

    fn exit(&self, name: &str) {
        let details = json!({"name": name, "output": self.data.to_string(), "outputDetails": whole()});
        self.record("TaskStateExited", "stateExitedEventDetails", details);
    }

    /// Applies the injected fault of this state.
    async fn apply_fault(&mut self, name: &'static str) -> Result<(), ExecutionEnded> {
        let Some(fault) = self.fault(&self.simulation.faults.get(), name).cloned() else { return Ok(()) };
        Err(match fault.outcome {
            Outcome::Fail { error, cause } => {
                let failure = TaskFailure { error, cause };
                self.fail_task(&failure);
                self.end(SfnStatus::Failed, Some(failure))
            }
            Outcome::Caught { error, cause } => {
                let failure = TaskFailure { error, cause };
                self.fail_task(&failure);
                self.data["error"] = json!({"Error": failure.error, "Cause": failure.cause});
                self.exit(name);
                let entered =
                    json!({"name": "DeploymentFailed", "input": self.data.to_string(), "inputDetails": whole()});
                self.record("FailStateEntered", "stateEnteredEventDetails", entered);
                self.end(SfnStatus::Failed, Some(failure))
            }
            Outcome::TimeOut => self.end(SfnStatus::TimedOut, None),
            Outcome::Abort { error, cause } => self.end(SfnStatus::Aborted, Some(TaskFailure { error, cause })),
            Outcome::Stuck => {
                let faults = self.simulation.faults.clone();
                faults
                    .wait_until(|now| self.fault(now, name).is_none_or(|fault| fault.outcome != Outcome::Stuck))
                    .await;
                return Ok(());
            }
        })
    }

    fn fault<'a>(&self, faults: &'a Faults, name: &str) -> Option<&'a ExecutionFault> {
        of_repository(&faults.executions, &self.repository).filter(|fault| fault.state == name)
    }

    fn fail_task(&self, failure: &TaskFailure) {
        let details =
            json!({"resourceType": "lambda", "resource": "invoke", "error": failure.error, "cause": failure.cause});
        self.record("TaskFailed", "taskFailedEventDetails", details);
    }

    fn end(&self, status: SfnStatus, failure: Option<TaskFailure>) -> ExecutionEnded {
        let (error, cause) = failure.map(|failure| (failure.error, failure.cause)).unzip();
        tracing::info!(execution = self.arn, ?status, error, cause, "sandbox: execution failed");
        self.change(|execution| execution.end(status, error, cause));
        ExecutionEnded
    }

    fn record(&self, kind: &'static str, key: &'static str, details: Value) {
        self.change(|execution| execution.record(kind, Some((key, details))));
    }

    fn change(&self, act: impl FnOnce(&mut SimulatedExecution)) {
        self.simulation.change(|state| {
            if let Some(execution) = state.executions.get_mut(&self.arn) {
                act(execution);
            }
        });
    }
}

fn whole() -> Value {
    json!({"truncated": false})
}
