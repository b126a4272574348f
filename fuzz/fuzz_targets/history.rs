//! Reading the history of an execution: any output of a task, read in any pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::history::{HistoryEvent, HistoryKind};
use panda_fuzz::domain::names::Names;
use panda_fuzz::domain::pipeline::interpret;

fn kind(line: &str, names: &Names) -> HistoryKind {
    let (first, rest) = line.split_at_checked(1).unwrap_or(("", line));
    let (error, cause) = (Some(rest.to_owned()), None);
    let exited = |name: &String| HistoryKind::StateExited { name: name.clone(), output: Some(rest.to_owned()) };
    match first {
        "a" => HistoryKind::StateEntered { name: names.ensure_infra_state.clone() },
        "b" => HistoryKind::StateEntered { name: names.register_state.clone() },
        "c" => exited(&names.ensure_infra_state),
        "d" => exited(&names.register_state),
        "e" => exited(&names.check_state),
        "f" => HistoryKind::Failed { error, cause },
        "g" => HistoryKind::TimedOut { error, cause },
        "h" => HistoryKind::Aborted { error, cause },
        "i" => HistoryKind::TaskFailed,
        "j" => HistoryKind::TaskSucceeded,
        "k" => HistoryKind::Succeeded,
        _ => HistoryKind::Other,
    }
}

fuzz_target!(|text: &str| {
    let names = Names::default();
    let events = text.lines().zip(1..).map(|(line, id)| HistoryEvent { id, kind: kind(line, &names) });
    let history: Vec<HistoryEvent> = events.collect();
    let whole = interpret(&history, &names, false);
    assert_eq!(whole, interpret(&history, &names, false), "the same history says the same");
    for event in &whole.events {
        let rendered = event.render("ko".parse().unwrap());
        assert!(!rendered.message.contains('\0'), "Postgres cannot store it");
    }
});
