//! Classes of event types, by their names in Step Functions' API.

/// Meaning of an event type for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    /// A state was entered.
    Entered,
    /// A state was left.
    Exited,
    /// A part of the execution failed, timed out or was aborted.
    Failure,
    /// The execution ended, or was redriven.
    Execution,
    /// A part of the execution made progress.
    Progress,
    /// A type that this version does not know.
    Unknown,
}

/// Failures of parts of an execution.
const FAILURES: [&str; 22] = [
    "ActivityFailed",
    "ActivityScheduleFailed",
    "ActivityTimedOut",
    "EvaluationFailed",
    "LambdaFunctionFailed",
    "LambdaFunctionScheduleFailed",
    "LambdaFunctionStartFailed",
    "LambdaFunctionTimedOut",
    "MapIterationAborted",
    "MapIterationFailed",
    "MapRunAborted",
    "MapRunFailed",
    "MapStateAborted",
    "MapStateFailed",
    "ParallelStateAborted",
    "ParallelStateFailed",
    "TaskFailed",
    "TaskStartFailed",
    "TaskStateAborted",
    "TaskSubmitFailed",
    "TaskTimedOut",
    "WaitStateAborted",
];

const EXECUTION: [&str; 5] =
    ["ExecutionAborted", "ExecutionFailed", "ExecutionRedriven", "ExecutionSucceeded", "ExecutionTimedOut"];

const PROGRESS: [&str; 20] = [
    "ActivityScheduled",
    "ActivityStarted",
    "ActivitySucceeded",
    "ExecutionStarted",
    "LambdaFunctionScheduled",
    "LambdaFunctionStarted",
    "LambdaFunctionSucceeded",
    "MapIterationStarted",
    "MapIterationSucceeded",
    "MapRunRedriven",
    "MapRunStarted",
    "MapRunSucceeded",
    "MapStateStarted",
    "MapStateSucceeded",
    "ParallelStateStarted",
    "ParallelStateSucceeded",
    "TaskScheduled",
    "TaskStarted",
    "TaskSubmitted",
    "TaskSucceeded",
];

/// Returns the class of an event type. A type that AWS adds later counts by the ending of its name.
pub fn classify(event_type: &str) -> EventClass {
    let ends = |endings: &[&str]| endings.iter().any(|ending| event_type.ends_with(ending));
    if EXECUTION.contains(&event_type) {
        EventClass::Execution
    } else if FAILURES.contains(&event_type) {
        EventClass::Failure
    } else if PROGRESS.contains(&event_type) {
        EventClass::Progress
    } else if ends(&["StateEntered"]) {
        EventClass::Entered
    } else if ends(&["StateExited"]) {
        EventClass::Exited
    } else if ends(&["Failed", "TimedOut", "Aborted"]) {
        EventClass::Failure
    } else if ends(&["Scheduled", "Started", "Submitted", "Succeeded", "Redriven"]) {
        EventClass::Progress
    } else {
        EventClass::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_types_count_by_their_ending() {
        assert_eq!(classify("RobotTaskFailed"), EventClass::Failure);
        assert_eq!(classify("RobotStateEntered"), EventClass::Entered);
        assert_eq!(classify("RobotTaskSucceeded"), EventClass::Progress);
        assert_eq!(classify("MoonPhaseChanged"), EventClass::Unknown);
    }
}
