//! A task state with its history events, shaped as those of a Lambda invocation with a result path.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::accounts::{CONTROLLER_ACCOUNT, REGION};
use super::super::aws::sfn::{Execution, Status};
use super::super::faults::{ExecutionFault, Faults, Outcome, of_repository};
use super::super::world::World;

/// Why a task failed.
#[derive(Debug)]
pub struct Failure {
    pub error: String,
    pub cause: String,
}

impl Failure {
    pub fn new(error: &str, cause: &impl ToString) -> Self {
        Self { error: error.to_owned(), cause: cause.to_string() }
    }
}

/// The execution has ended; its last event is written.
#[derive(Debug)]
pub struct Ended;

/// A task state's name, where its result goes, and how long it takes at least.
pub struct State {
    pub name: &'static str,
    pub result_path: &'static str,
    pub at_least: Duration,
}

/// An execution on its way through the states.
pub struct Run {
    pub world: Arc<World>,
    pub repository: String,
    pub digest: String,
    arn: String,
    /// What the next state gets as input.
    data: Value,
}

impl Run {
    pub fn new(world: Arc<World>, arn: String, repository: String, digest: String, data: Value) -> Self {
        Self { world, repository, digest, arn, data }
    }

    /// Goes through one state: what `work` returns is the Lambda's payload.
    pub async fn task(
        &mut self,
        state: &State,
        work: impl Future<Output = Result<Value, Failure>>,
    ) -> Result<Value, Ended> {
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
        self.meet_fault(name).await?;
        let (result, ()) = tokio::join!(work, tokio::time::sleep(state.at_least));
        match result {
            Ok(payload) => {
                self.leave(state, &payload);
                Ok(payload)
            }
            Err(failure) => {
                self.fail_task(&failure);
                Err(self.end(Status::Failed, Some(failure)))
            }
        }
    }

    /// The execution's good end.
    pub fn succeed(&self) {
        self.change(|execution| execution.succeed(self.data.to_string()));
    }

    fn leave(&mut self, state: &State, payload: &Value) {
        let wrapped =
            if self.world.faults.get().payload_as_text { json!(payload.to_string()) } else { payload.clone() };
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

    /// Does what the settings want of this state.
    async fn meet_fault(&mut self, name: &'static str) -> Result<(), Ended> {
        let Some(fault) = self.fault(&self.world.faults.get(), name).cloned() else { return Ok(()) };
        Err(match fault.outcome {
            Outcome::Fail { error, cause } => {
                let failure = Failure { error, cause };
                self.fail_task(&failure);
                self.end(Status::Failed, Some(failure))
            }
            Outcome::Caught { error, cause } => {
                let failure = Failure { error, cause };
                self.fail_task(&failure);
                self.data["error"] = json!({"Error": failure.error, "Cause": failure.cause});
                self.exit(name);
                let entered =
                    json!({"name": "DeploymentFailed", "input": self.data.to_string(), "inputDetails": whole()});
                self.record("FailStateEntered", "stateEnteredEventDetails", entered);
                self.end(Status::Failed, Some(failure))
            }
            Outcome::TimeOut => self.end(Status::TimedOut, None),
            Outcome::Abort { error, cause } => self.end(Status::Aborted, Some(Failure { error, cause })),
            Outcome::Stuck => {
                let faults = self.world.faults.clone();
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

    fn fail_task(&self, failure: &Failure) {
        let details =
            json!({"resourceType": "lambda", "resource": "invoke", "error": failure.error, "cause": failure.cause});
        self.record("TaskFailed", "taskFailedEventDetails", details);
    }

    fn end(&self, status: Status, failure: Option<Failure>) -> Ended {
        let (error, cause) = failure.map(|failure| (failure.error, failure.cause)).unzip();
        tracing::info!(execution = self.arn, ?status, error, cause, "sandbox: execution ends badly");
        self.change(|execution| execution.end(status, error, cause));
        Ended
    }

    fn record(&self, kind: &'static str, key: &'static str, details: Value) {
        self.change(|execution| execution.record(kind, Some((key, details))));
    }

    fn change(&self, act: impl FnOnce(&mut Execution)) {
        self.world.change(|state| {
            if let Some(execution) = state.executions.get_mut(&self.arn) {
                act(execution);
            }
        });
    }
}

fn whole() -> Value {
    json!({"truncated": false})
}
