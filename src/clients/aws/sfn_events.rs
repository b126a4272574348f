//! Converts events of `GetExecutionHistory` to the project's type.

use aws_sdk_sfn::types::{self, HistoryEventType};

use crate::domain::history::{EventClass, ExitOutput, HistoryEvent, HistoryKind, classify};

/// Returns the events after `after_id`, each once and in order.
pub(super) fn after(mut events: Vec<types::HistoryEvent>, after_id: i64) -> Vec<HistoryEvent> {
    events.retain(|event| event.id > after_id);
    events.sort_by_key(|event| event.id);
    events.dedup_by_key(|event| event.id);
    events.into_iter().map(event).collect()
}

fn event(event: types::HistoryEvent) -> HistoryEvent {
    HistoryEvent { id: event.id, previous: event.previous_event_id, kind: kind(event) }
}

fn kind(event: types::HistoryEvent) -> HistoryKind {
    match classify(event.r#type.as_str()) {
        // Task, Pass, Choice, Wait, Map, Parallel …: all have details of the same form.
        EventClass::Entered => event.state_entered_event_details.map_or(HistoryKind::Unknown, |details| {
            HistoryKind::StateEntered { name: details.name, input: details.input }
        }),
        EventClass::Exited => event.state_exited_event_details.map_or(HistoryKind::Unknown, exited),
        EventClass::Failure => {
            let (error, cause) = error_and_cause(event);
            HistoryKind::Failure { error, cause }
        }
        EventClass::Execution => execution(event),
        EventClass::Progress => HistoryKind::Progress,
        EventClass::Unknown => HistoryKind::Unknown,
    }
}

fn exited(details: types::StateExitedEventDetails) -> HistoryKind {
    let output = ExitOutput {
        text: details.output,
        truncated: details.output_details.is_some_and(|details| details.truncated),
        // Truncated variables are not valid JSON any more.
        variables: match details.assigned_variables_details {
            Some(cut) if cut.truncated => std::collections::BTreeMap::new(),
            _ => details.assigned_variables.unwrap_or_default().into_iter().collect(),
        },
    };
    HistoryKind::StateExited { name: details.name, output }
}

fn execution(event: types::HistoryEvent) -> HistoryKind {
    match event.r#type {
        HistoryEventType::ExecutionSucceeded => HistoryKind::Succeeded,
        HistoryEventType::ExecutionRedriven => HistoryKind::Redriven,
        HistoryEventType::ExecutionFailed => {
            let (error, cause) = event.execution_failed_event_details.map(|d| (d.error, d.cause)).unwrap_or_default();
            HistoryKind::Failed { error, cause }
        }
        HistoryEventType::ExecutionTimedOut => {
            let (error, cause) =
                event.execution_timed_out_event_details.map(|d| (d.error, d.cause)).unwrap_or_default();
            HistoryKind::TimedOut { error, cause }
        }
        HistoryEventType::ExecutionAborted => {
            let (error, cause) = event.execution_aborted_event_details.map(|d| (d.error, d.cause)).unwrap_or_default();
            HistoryKind::Aborted { error, cause }
        }
        _ => HistoryKind::Unknown,
    }
}

/// Returns error and cause of a failure; events of Map and Parallel have neither.
fn error_and_cause(event: types::HistoryEvent) -> (Option<String>, Option<String>) {
    macro_rules! first {
        ($($details:ident),+ $(,)?) => {{
            $(if let Some(details) = event.$details {
                return (details.error, details.cause);
            })+
            (None, None)
        }};
    }
    first!(
        task_failed_event_details,
        task_timed_out_event_details,
        task_start_failed_event_details,
        task_submit_failed_event_details,
        lambda_function_failed_event_details,
        lambda_function_timed_out_event_details,
        lambda_function_schedule_failed_event_details,
        lambda_function_start_failed_event_details,
        activity_failed_event_details,
        activity_timed_out_event_details,
        activity_schedule_failed_event_details,
        evaluation_failed_event_details,
        map_run_failed_event_details,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_all_event_types() {
        for name in HistoryEventType::values() {
            assert_ne!(classify(name), EventClass::Unknown, "{name}");
        }
        let failures = HistoryEventType::values().iter().filter(|name| classify(name) == EventClass::Failure);
        assert_eq!(failures.count(), 22);
    }
}
