//! An independent judgement of exits, by the event that `previousEventId` names, for every assignment of a history's states to the three names.

use serde_json::Value;

use super::recorded::{Recorded, all};
use crate::domain::history::{Memory, Reader};
use crate::domain::names::Names;

/// True if the exit's cause, or the unknown events before it, is a failure.
fn is_caught(recorded: &Recorded, exit: &Value) -> bool {
    let by_id = |id: i64| recorded.events.iter().find(|event| event["id"] == id);
    let mut cause = by_id(exit["previousEventId"].as_i64().unwrap());
    while let Some(event) = cause {
        let kind = event["type"].as_str().unwrap();
        if kind == "CosmicRayObserved" {
            cause = by_id(event["previousEventId"].as_i64().unwrap());
            continue;
        }
        return ["Failed", "TimedOut", "Aborted"].iter().any(|ending| kind.ends_with(ending));
    }
    false
}

/// Checks each exit of the state named `name`: read as the infrastructure's, as the registration's and as the check's.
fn judge(recorded: &Recorded, name: &str) -> usize {
    let elsewhere = || "no such state".to_owned();
    let plain = || Names {
        ensure_infra_state: elsewhere(),
        register_state: elsewhere(),
        check_state: elsewhere(),
        ..Names::default()
    };
    let roles = [
        (Names { ensure_infra_state: name.to_owned(), ..plain() }, Some("ENSURE_INFRA_COMPLETED")),
        (Names { register_state: name.to_owned(), ..plain() }, Some("REGISTER_TASK_COMPLETED")),
        (Names { check_state: name.to_owned(), ..plain() }, None),
    ];
    let history = recorded.history();
    let mut exits = 0;
    for (at, exit) in recorded.events.iter().enumerate() {
        if exit["stateExitedEventDetails"]["name"] != name {
            continue;
        }
        for (names, completed) in &roles {
            let reader = Reader { names, accounts: &[] };
            let (mut memory, mut last) = (Memory::default(), 0);
            // Ends before this exit do not concern it.
            for event in &history[..at] {
                let reading = reader.read(std::slice::from_ref(event), last, memory);
                (memory, last) = (reading.memory, event.id);
            }
            let reading = reader.read(&history[at..=at], last, memory);
            let caught = match completed {
                Some(state) => reading.facts.polling_state.as_deref() != Some(*state),
                None => reading.memory.seen(name).contains(&format!("handled the failure (event {})", last + 1)),
            };
            assert_eq!(caught, is_caught(recorded, exit), "{} as {completed:?}: {exit}", recorded.name);
            exits += 1;
        }
    }
    exits
}

#[test]
fn agrees_on_every_exit() {
    let complete = all().into_iter().filter(|recorded| recorded.expected.missing.is_none());
    let exits: usize =
        complete.map(|recorded| recorded.states().iter().map(|name| judge(&recorded, name)).sum::<usize>()).sum();
    assert!(exits > 500, "{exits} exits");
}

/// All assignments of a history's states to the three names are read without a panic, and the same in two pieces as whole.
#[test]
fn reads_every_assignment_in_two_pieces() {
    for recorded in all() {
        let states = recorded.states();
        for ensure_infra_state in &states {
            for register_state in &states {
                for check_state in &states {
                    let names = Names {
                        ensure_infra_state: ensure_infra_state.clone(),
                        register_state: register_state.clone(),
                        check_state: check_state.clone(),
                        ..Names::default()
                    };
                    super::pieces::equal_in_two_pieces(&recorded, &names);
                }
            }
        }
    }
}
