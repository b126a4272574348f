//! Converts events of `GetExecutionHistory` to the project's type.

use aws_sdk_sfn::types;

use super::utc;
use crate::domain::history::RawEvent;

/// Returns the events after `after_id`, each once and in order.
pub(super) fn after(mut events: Vec<types::HistoryEvent>, after_id: i64) -> Vec<RawEvent> {
    events.retain(|event| event.id > after_id);
    events.sort_by_key(|event| event.id);
    events.dedup_by_key(|event| event.id);
    events.into_iter().map(raw).collect()
}

fn raw(mut event: types::HistoryEvent) -> RawEvent {
    let mut raw = RawEvent {
        id: event.id,
        previous: event.previous_event_id,
        event_type: event.r#type.as_str().to_owned(),
        timestamp: utc(&event.timestamp),
        ..RawEvent::default()
    };
    if let Some(details) = event.state_entered_event_details.take() {
        (raw.name, raw.input) = (Some(details.name), details.input);
    } else if let Some(details) = event.state_exited_event_details.take() {
        (raw.name, raw.output) = (Some(details.name), details.output);
        raw.truncated = details.output_details.is_some_and(|details| details.truncated);
        // Truncated variables are not valid JSON any more.
        if !details.assigned_variables_details.is_some_and(|details| details.truncated) {
            raw.variables = details.assigned_variables.unwrap_or_default().into_iter().collect();
        }
    } else {
        (raw.error, raw.cause) = error_and_cause(event);
    }
    raw
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
        execution_failed_event_details,
        execution_timed_out_event_details,
        execution_aborted_event_details,
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
    use aws_sdk_sfn::types::HistoryEventType;

    use crate::domain::history::{EventClass, classify};

    #[test]
    fn knows_all_event_types() {
        for name in HistoryEventType::values() {
            assert_ne!(classify(name), EventClass::Unknown, "{name}");
        }
        let failures = HistoryEventType::values().iter().filter(|name| classify(name) == EventClass::Failure);
        assert_eq!(failures.count(), 22);
    }
}
