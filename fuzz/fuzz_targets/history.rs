//! Reading the history of an execution: any output of a task, read in any pieces, with causes and gaps of any kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::deployment::Facts;
use panda_fuzz::domain::event::Event;
use panda_fuzz::domain::history::{ExitOutput, HistoryEvent, HistoryKind, Memory, Reader, Verdict};
use panda_fuzz::domain::names::Names;

fn kind(line: &str, names: &Names) -> HistoryKind {
    let (first, rest) = line.split_at_checked(1).unwrap_or(("", line));
    let (error, cause) = (Some(rest.to_owned()), None);
    let entered = |name: &String| HistoryKind::StateEntered { name: name.clone(), input: Some(rest.to_owned()) };
    let exited = |name: &String| {
        let output = ExitOutput { text: Some(rest.to_owned()), ..ExitOutput::default() };
        HistoryKind::StateExited { name: name.clone(), output }
    };
    match first {
        "a" => entered(&names.ensure_infra_state),
        "b" => entered(&names.register_state),
        "c" => exited(&names.ensure_infra_state),
        "d" => exited(&names.register_state),
        "e" => exited(&names.check_state),
        "f" => HistoryKind::Failed { error, cause },
        "g" => HistoryKind::TimedOut { error, cause },
        "h" => HistoryKind::Aborted { error, cause },
        "i" => HistoryKind::Failure { error, cause },
        "j" => HistoryKind::Progress,
        "k" => HistoryKind::Succeeded,
        "l" => entered(&names.check_state),
        "m" => HistoryKind::Redriven,
        "n" => HistoryKind::StateExited { name: names.check_state.clone(), output: variables(rest) },
        "o" => HistoryKind::StateExited { name: names.check_state.clone(), output: ExitOutput { truncated: true, ..variables(rest) } },
        _ => HistoryKind::Unknown,
    }
}

fn variables(text: &str) -> ExitOutput {
    ExitOutput { variables: [("v".to_owned(), text.to_owned())].into(), ..ExitOutput::default() }
}

/// A line `12<text>` names event 12 as its cause; any other line names the one before it.
fn event(id: i64, line: &str, names: &Names) -> HistoryEvent {
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let previous = line[..digits].parse().unwrap_or(id - 1);
    HistoryEvent { id, previous, kind: kind(&line[digits..], names) }
}

#[derive(Debug, Default, PartialEq)]
struct Followed {
    events: Vec<Event>,
    facts: Facts,
    memory: Memory,
    verdict: Option<Verdict>,
}

impl Followed {
    fn poll(&mut self, reader: &Reader<'_>, visible: &[HistoryEvent]) {
        if self.verdict.is_some() {
            return;
        }
        let stored = serde_json::to_string(&self.memory).unwrap();
        let memory = serde_json::from_str(&stored).unwrap();
        let reading = reader.read(visible, self.facts.last_history_event_id.unwrap_or(0), memory);
        self.events.extend(reading.events);
        self.facts.merge(reading.facts);
        (self.memory, self.verdict) = (reading.memory, reading.verdict);
    }
}

fuzz_target!(|text: &str| {
    let names = Names::default();
    let history: Vec<HistoryEvent> = text.lines().zip(1..).map(|(line, id)| event(id, line, &names)).collect();
    let reader = Reader { names: &names, accounts: &["210987654321"] };
    let mut whole = Followed::default();
    whole.poll(&reader, &history);
    for event in &whole.events {
        let rendered = event.render("ko".parse().unwrap());
        assert!(!rendered.message.contains('\0'), "Postgres cannot store it");
    }
    for url in [&whole.facts.blue_url, &whole.facts.green_url].into_iter().flatten() {
        assert!(url.to_ascii_lowercase().trim_start().starts_with("http"), "{url} would be followed");
    }
    // A redriven execution ends a first reading in between.
    if history.iter().any(|event| event.kind == HistoryKind::Redriven) {
        return;
    }
    for cut in [history.len() / 3, history.len() / 2, history.len().saturating_sub(1)] {
        let mut pieces = Followed::default();
        pieces.poll(&reader, &history[..cut]);
        // The event at the cut is late.
        let late: Vec<HistoryEvent> = history.iter().enumerate().filter(|(at, _)| *at != cut).map(|(_, e)| e.clone()).collect();
        pieces.poll(&reader, &late);
        pieces.poll(&reader, &history);
        assert_eq!(pieces, whole, "cut at {cut}");
    }
});
