//! The API calls of Step Functions.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::AwsCaller;
use crate::aws::epoch;
use crate::aws::error::AwsError;
use crate::aws::sfn::{HistoryPage, STATE_MACHINE_ARN, ScriptedEvent, SfnStatus, SimulatedExecution, scripted};
use crate::faults::{Faults, of_repository};
use crate::simulation::{AwsState, Simulation};

const DEFAULT_PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

/// Creation of the state machine, in seconds since 1970.
const CREATED: f64 = 1_700_000_000.0;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByArn {
    execution_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    execution_arn: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetHistory {
    execution_arn: String,
    #[serde(default)]
    max_results: usize,
    #[serde(default)]
    reverse_order: bool,
    next_token: Option<String>,
    include_execution_data: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    state_machine_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    state_machine_arn: String,
    status_filter: Option<String>,
    #[serde(default)]
    max_results: usize,
    next_token: Option<String>,
}

pub fn call(simulation: &Simulation, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "DescribeExecution" => describe(simulation, caller, &input(body)?),
        "GetExecutionHistory" => get_history(simulation, caller, &input(body)?),
        "StopExecution" => stop(simulation, caller, input(body)?),
        "ListExecutions" => list(simulation, caller, &input(body)?),
        "DescribeStateMachine" => describe_machine(caller, &input(body)?),
        other => Err(unknown("states", other)),
    }
}

fn describe(simulation: &Simulation, caller: &AwsCaller, wanted: &ByArn) -> Result<Value, AwsError> {
    let seen = Utc::now() - simulation.lag(|of| of.execution);
    simulation.read(|state| {
        let execution = find(state, caller, "states:DescribeExecution", &wanted.execution_arn)?;
        if execution.started > seen {
            return Err(missing(&wanted.execution_arn));
        }
        let mut answer = summary(execution, seen);
        if let Some(end) = script(state, &simulation.faults.get(), execution).and_then(|script| script.last()?.end()) {
            answer["status"] = json!(end);
        }
        answer["input"] = json!(execution.input);
        answer["inputDetails"] = json!({"included": true});
        for (key, value) in [("output", &execution.output), ("error", &execution.error), ("cause", &execution.cause)] {
            if let Some(value) = value
                && ended(execution, seen)
            {
                answer[key] = json!(value);
            }
        }
        Ok(answer)
    })
}

fn get_history(simulation: &Simulation, caller: &AwsCaller, wanted: &GetHistory) -> Result<Value, AwsError> {
    let faults = simulation.faults.get();
    let size = page_size(wanted.max_results)?.min(faults.history_page.unwrap_or(LONGEST_PAGE)).max(1);
    simulation.read(|state| {
        let execution = find(state, caller, "states:GetExecutionHistory", &wanted.execution_arn)?;
        // Count only first pages: later pages belong to the same read.
        if wanted.next_token.is_none() {
            simulation.history_gaps.note(&wanted.execution_arn, Instant::now());
        }
        let page = HistoryPage {
            arn: &wanted.execution_arn,
            size,
            reverse: wanted.reverse_order,
            with_data: wanted.include_execution_data.unwrap_or(true),
            token: wanted.next_token.as_deref(),
            lag: faults.visibility.history,
            seed: faults.seed,
        };
        match script(state, &faults, execution) {
            Some(script) => page.page(script.iter()),
            None => page.of(&execution.history),
        }
    })
}

/// The events that a test has scripted for the execution's repository.
fn script(state: &AwsState, faults: &Faults, execution: &SimulatedExecution) -> Option<Vec<ScriptedEvent>> {
    let script = of_repository(&faults.histories, &execution.repository)?;
    let deployments = state.deployments.values().filter(|found| found.repository == execution.repository);
    let newest = deployments.max_by_key(|found| found.created).map(|found| found.id.as_str());
    Some(scripted(script, newest))
}

fn describe_machine(caller: &AwsCaller, wanted: &Machine) -> Result<Value, AwsError> {
    let arn = &wanted.state_machine_arn;
    own(caller, "states:DescribeStateMachine", arn)?;
    if arn != STATE_MACHINE_ARN {
        let message = format!("State Machine Does Not Exist: '{arn}'");
        return Err(AwsError::new("StateMachineDoesNotExist", message));
    }
    let task = |next: &str| json!({"Type": "Pass", "Next": next});
    let definition = json!({"StartAt": "EnsureInfra", "States": {
        "EnsureInfra": task("RegisterTaskAndDeploy"), "RegisterTaskAndDeploy": task("CheckDeployment"),
        "CheckDeployment": {"Type": "Pass", "End": true},
    }});
    Ok(json!({
        "stateMachineArn": arn, "name": "panda-deployment", "status": "ACTIVE", "type": "STANDARD",
        "definition": definition.to_string(), "roleArn": "arn:aws:iam::123456789012:role/panda-pipeline",
        "creationDate": CREATED,
    }))
}

/// Stops an execution. For an ended one, returns its end and changes nothing.
fn stop(simulation: &Simulation, caller: &AwsCaller, wanted: Stop) -> Result<Value, AwsError> {
    simulation.change(|state| {
        find(state, caller, "states:StopExecution", &wanted.execution_arn)?;
        let Some(execution) = state.executions.get_mut(&wanted.execution_arn) else {
            return Err(missing(&wanted.execution_arn));
        };
        if execution.status == SfnStatus::Running {
            execution.end(SfnStatus::Aborted, wanted.error, wanted.cause);
            state.effects.of(&execution.repository).executions_stopped += 1;
        }
        Ok(json!({"stopDate": execution.stopped.map(epoch)}))
    })
}

fn list(simulation: &Simulation, caller: &AwsCaller, wanted: &List) -> Result<Value, AwsError> {
    let size = page_size(wanted.max_results)?;
    if wanted.state_machine_arn != STATE_MACHINE_ARN {
        let message = format!("State Machine Does Not Exist: '{}'", wanted.state_machine_arn);
        return Err(AwsError::new("StateMachineDoesNotExist", message));
    }
    own(caller, "states:ListExecutions", STATE_MACHINE_ARN)?;
    // The token is the ARN of the first execution on the page.
    let bad = || AwsError::new("InvalidToken", "Invalid Token: 'unknown'");
    let seen = Utc::now() - simulation.lag(|of| of.execution);
    simulation.read(|state| {
        let mut all: Vec<&SimulatedExecution> =
            state.executions.values().filter(|execution| execution.started <= seen).collect();
        all.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.arn.cmp(&b.arn)));
        let start = match &wanted.next_token {
            Some(token) => all.iter().position(|execution| execution.arn == *token).ok_or_else(bad)?,
            None => 0,
        };
        let fits = |execution: &&&SimulatedExecution| {
            wanted.status_filter.as_deref().is_none_or(|status| summary(execution, seen)["status"] == status)
        };
        let chosen: Vec<&&SimulatedExecution> = all[start..].iter().filter(fits).take(size + 1).collect();
        let mut answer =
            json!({"executions": chosen.iter().take(size).map(|execution| summary(execution, seen)).collect::<Vec<_>>()});
        if let Some(next) = chosen.get(size) {
            answer["nextToken"] = json!(next.arn);
        }
        Ok(answer)
    })
}

/// Returns true if the end of the execution is visible to a read that shows the state at `seen`.
fn ended(execution: &SimulatedExecution, seen: DateTime<Utc>) -> bool {
    execution.stopped.is_some_and(|stopped| stopped <= seen)
}

fn summary(execution: &SimulatedExecution, seen: DateTime<Utc>) -> Value {
    let status = if ended(execution, seen) { execution.status } else { SfnStatus::Running };
    let mut answer = json!({
        "executionArn": execution.arn, "stateMachineArn": STATE_MACHINE_ARN, "name": execution.name,
        "status": status.name(), "startDate": epoch(execution.started), "redriveCount": 0,
    });
    if let Some(stopped) = execution.stopped.filter(|stopped| *stopped <= seen) {
        answer["stopDate"] = json!(epoch(stopped));
    }
    answer
}

fn find<'a>(
    state: &'a AwsState,
    caller: &AwsCaller,
    call: &str,
    arn: &str,
) -> Result<&'a SimulatedExecution, AwsError> {
    if !arn.starts_with("arn:aws:states:") || !arn.contains(":execution:") {
        return Err(AwsError::new(
            "InvalidArn",
            format!("Invalid Arn: 'Resource type not valid in this context: {arn}'"),
        ));
    }
    own(caller, call, arn)?;
    state.executions.get(arn).ok_or_else(|| missing(arn))
}

fn missing(arn: &str) -> AwsError {
    AwsError::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

/// Rejects ARNs of other accounts, existing or not.
fn own(caller: &AwsCaller, call: &str, arn: &str) -> Result<(), AwsError> {
    if arn.split(':').nth(4) == Some(caller.account.as_str()) {
        return Ok(());
    }
    let message = format!("User: {} is not authorized to perform: {call} on resource: {arn}", caller.arn);
    Err(AwsError::new("AccessDeniedException", message))
}

fn page_size(wanted: usize) -> Result<usize, AwsError> {
    match wanted {
        0 => Ok(DEFAULT_PAGE),
        1..=LONGEST_PAGE => Ok(wanted),
        _ => Err(AwsError::new("ValidationException", "Value at 'maxResults' must be less than or equal to 1000")),
    }
}
