//! The calls.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::accounts::Caller;
use super::super::super::world::{State, World};
use super::super::error::AwsError;
use super::super::{epoch, input, unknown};
use super::history::Page;
use super::{Execution, STATE_MACHINE_ARN, Status};

const DEFAULT_PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

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
struct List {
    state_machine_arn: String,
    status_filter: Option<String>,
    #[serde(default)]
    max_results: usize,
    next_token: Option<String>,
}

pub fn call(world: &World, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "DescribeExecution" => describe(world, caller, &input(body)?),
        "GetExecutionHistory" => get_history(world, caller, &input(body)?),
        "StopExecution" => stop(world, caller, input(body)?),
        "ListExecutions" => list(world, caller, &input(body)?),
        other => Err(unknown("states", other)),
    }
}

fn describe(world: &World, caller: &Caller, wanted: &ByArn) -> Result<Value, AwsError> {
    world.read(|state| {
        let execution = find(state, caller, "states:DescribeExecution", &wanted.execution_arn)?;
        let mut answer = summary(execution);
        answer["input"] = json!(execution.input);
        answer["inputDetails"] = json!({"included": true});
        for (key, value) in [("output", &execution.output), ("error", &execution.error), ("cause", &execution.cause)] {
            if let Some(value) = value {
                answer[key] = json!(value);
            }
        }
        Ok(answer)
    })
}

fn get_history(world: &World, caller: &Caller, wanted: &GetHistory) -> Result<Value, AwsError> {
    let faults = world.faults.get();
    let size = page_size(wanted.max_results)?.min(faults.history_page.unwrap_or(LONGEST_PAGE)).max(1);
    world.read(|state| {
        let execution = find(state, caller, "states:GetExecutionHistory", &wanted.execution_arn)?;
        // Further pages are the same reading.
        if wanted.next_token.is_none() {
            world.readings.note(&wanted.execution_arn, Instant::now());
        }
        let page = Page {
            arn: &wanted.execution_arn,
            size,
            reverse: wanted.reverse_order,
            with_data: wanted.include_execution_data.unwrap_or(true),
            token: wanted.next_token.as_deref(),
            lag: Duration::from_millis(faults.history_lag_ms),
        };
        page.of(&execution.history)
    })
}

/// Stopping what has ended already answers when it ended, and changes nothing.
fn stop(world: &World, caller: &Caller, wanted: Stop) -> Result<Value, AwsError> {
    world.change(|state| {
        find(state, caller, "states:StopExecution", &wanted.execution_arn)?;
        let Some(execution) = state.executions.get_mut(&wanted.execution_arn) else {
            return Err(missing(&wanted.execution_arn));
        };
        if execution.status == Status::Running {
            execution.end(Status::Aborted, wanted.error, wanted.cause);
            state.effects.of(&execution.repository).executions_stopped += 1;
        }
        Ok(json!({"stopDate": execution.stopped.map(epoch)}))
    })
}

fn list(world: &World, caller: &Caller, wanted: &List) -> Result<Value, AwsError> {
    let size = page_size(wanted.max_results)?;
    if wanted.state_machine_arn != STATE_MACHINE_ARN {
        let message = format!("State Machine Does Not Exist: '{}'", wanted.state_machine_arn);
        return Err(AwsError::new("StateMachineDoesNotExist", message));
    }
    own(caller, "states:ListExecutions", STATE_MACHINE_ARN)?;
    // The token is the ARN that the page starts with.
    let bad = || AwsError::new("InvalidToken", "Invalid Token: 'unknown'");
    world.read(|state| {
        let mut all: Vec<&Execution> = state.executions.values().collect();
        all.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.arn.cmp(&b.arn)));
        let start = match &wanted.next_token {
            Some(token) => all.iter().position(|execution| execution.arn == *token).ok_or_else(bad)?,
            None => 0,
        };
        let fits = |execution: &&&Execution| {
            wanted.status_filter.as_deref().is_none_or(|status| execution.status.name() == status)
        };
        let chosen: Vec<&&Execution> = all[start..].iter().filter(fits).take(size + 1).collect();
        let mut answer =
            json!({"executions": chosen.iter().take(size).map(|execution| summary(execution)).collect::<Vec<_>>()});
        if let Some(next) = chosen.get(size) {
            answer["nextToken"] = json!(next.arn);
        }
        Ok(answer)
    })
}

fn summary(execution: &Execution) -> Value {
    let mut answer = json!({
        "executionArn": execution.arn, "stateMachineArn": STATE_MACHINE_ARN, "name": execution.name,
        "status": execution.status.name(), "startDate": epoch(execution.started), "redriveCount": 0,
    });
    if let Some(stopped) = execution.stopped {
        answer["stopDate"] = json!(epoch(stopped));
    }
    answer
}

fn find<'a>(state: &'a State, caller: &Caller, call: &str, arn: &str) -> Result<&'a Execution, AwsError> {
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

/// An ARN of another account is nobody's business, whether it exists or not.
fn own(caller: &Caller, call: &str, arn: &str) -> Result<(), AwsError> {
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
