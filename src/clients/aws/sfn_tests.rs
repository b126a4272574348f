//! Tests of converting a history, without a network.

use aws_sdk_sfn::{
    primitives::DateTime,
    types::{
        ExecutionFailedEventDetails, ExecutionTimedOutEventDetails, HistoryEvent as Raw,
        HistoryEventExecutionDataDetails, HistoryEventType as Type, StateEnteredEventDetails, StateExitedEventDetails,
    },
};
use pretty_assertions::assert_eq;

use super::*;
use crate::domain::history::{ExitOutput, HistoryEvent, HistoryKind};

fn raw(id: i64, kind: Type) -> Raw {
    Raw::builder().id(id).timestamp(DateTime::from_secs(id)).r#type(kind).build().unwrap()
}

fn entered(id: i64, kind: Type, name: &str) -> Raw {
    let mut event = raw(id, kind);
    event.state_entered_event_details = Some(StateEnteredEventDetails::builder().name(name).build().unwrap());
    event
}

fn exited(id: i64, name: &str, output: &str, truncated: bool) -> Raw {
    let mut event = raw(id, Type::TaskStateExited);
    let details = HistoryEventExecutionDataDetails::builder().truncated(truncated).build();
    let details = StateExitedEventDetails::builder().name(name).output(output).output_details(details);
    event.state_exited_event_details = Some(details.build().unwrap());
    event
}

fn output(text: &str, truncated: bool) -> ExitOutput {
    ExitOutput { text: Some(text.to_owned()), truncated, ..ExitOutput::default() }
}

#[test]
fn sorts_and_filters_events() {
    let events = || {
        vec![
            raw(4, Type::TaskScheduled),
            raw(2, Type::TaskStarted),
            raw(3, Type::TaskScheduled),
            raw(3, Type::TaskScheduled),
        ]
    };
    let ids = |after_id| after(events(), after_id).iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(0), [2, 3, 4]);
    assert_eq!(ids(3), [4]);
    assert_eq!(ids(9), [0_i64; 0]);
}

#[test]
fn reads_pages_down_to_known_event() {
    let page = |ids: &[i64]| ids.iter().map(|id| raw(*id, Type::TaskStarted)).collect::<Vec<_>>();
    assert!(!reaches(&page(&[9, 8, 7]), 5));
    assert!(reaches(&page(&[9, 8, 7]), 6), "7 follows 6: nothing lies between");
    assert!(reaches(&page(&[9, 8, 7]), 8));
    assert!(!reaches(&page(&[1, 2, 3]), 2), "an ascending page proves nothing about later ones");
    assert!(!reaches(&[], 2));
}

#[test]
fn newest_events_prove_nothing_new() {
    let page = |ids: &[i64]| ids.iter().map(|id| raw(*id, Type::TaskStarted)).collect::<Vec<_>>();
    assert!(nothing_after(&page(&[5, 4]), true, 5));
    assert!(!nothing_after(&page(&[6, 5]), true, 5));
    assert!(nothing_after(&page(&[1, 2, 3]), false, 3), "a complete history, in any order");
    assert!(!nothing_after(&page(&[1, 2]), true, 3), "the oldest events prove nothing about the newest");
    assert!(!nothing_after(&[], true, 3), "an empty page with more behind it proves nothing");
    assert!(nothing_after(&[], false, 3));
}

#[test]
fn reads_states_of_every_type() {
    let events = after(
        vec![
            entered(1, Type::TaskStateEntered, "EnsureInfra"),
            exited(2, "EnsureInfra", r#"{"a":1}"#, false),
            entered(3, Type::WaitStateEntered, "Pause"),
            exited(4, "CheckDeployment", r#"{"a":"#, true),
        ],
        0,
    );
    let kinds = events.into_iter().map(|event| event.event().kind).collect::<Vec<_>>();
    assert_eq!(
        kinds,
        [
            HistoryKind::StateEntered { name: "EnsureInfra".into(), input: None },
            HistoryKind::StateExited { name: "EnsureInfra".into(), output: output(r#"{"a":1}"#, false) },
            HistoryKind::StateEntered { name: "Pause".into(), input: None },
            HistoryKind::StateExited { name: "CheckDeployment".into(), output: output(r#"{"a":"#, true) },
        ]
    );
}

#[test]
fn keeps_error_and_cause() {
    let mut failed = raw(1, Type::ExecutionFailed);
    failed.execution_failed_event_details =
        Some(ExecutionFailedEventDetails::builder().error("States.TaskFailed").cause("no cluster").build());
    let mut timed_out = raw(2, Type::ExecutionTimedOut);
    timed_out.execution_timed_out_event_details =
        Some(ExecutionTimedOutEventDetails::builder().cause("30 min").build());
    let events = after(vec![failed, timed_out, raw(3, Type::ExecutionAborted), raw(4, Type::ExecutionSucceeded)], 0);
    let kinds = events.into_iter().map(|event| event.event().kind).collect::<Vec<_>>();
    assert_eq!(
        kinds,
        [
            HistoryKind::Failed { error: Some("States.TaskFailed".into()), cause: Some("no cluster".into()) },
            HistoryKind::TimedOut { error: None, cause: Some("30 min".into()) },
            HistoryKind::Aborted { error: None, cause: None },
            HistoryKind::Succeeded,
        ]
    );
}

#[test]
fn unknown_event_type_moves_cursor() {
    let events = after(vec![raw(7, Type::from("MoonPhaseStateChanged")), raw(8, Type::from("NewStateEntered"))], 0);
    assert_eq!(
        events.iter().map(RawEvent::event).collect::<Vec<_>>(),
        [
            HistoryEvent { id: 7, previous: 0, kind: HistoryKind::Unknown },
            HistoryEvent { id: 8, previous: 0, kind: HistoryKind::Unknown },
        ]
    );
}
