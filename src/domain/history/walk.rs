//! The history of an execution, reduced to how its states were left and how it ended.

use std::collections::BTreeMap;
use std::slice;

use super::event::{ExitOutput, HistoryEvent, HistoryKind};
use super::memory::Memory;
use super::output::Output;
use super::reader::{Reader, joined};
use super::status::carried;
use crate::domain::names::Names;

/// How a state was left the last time.
pub(super) enum Left {
    /// It was not left.
    Never,
    /// It failed, and the failure was handled.
    Caught(String),
    /// It has a result, and its flaw if it cannot be read.
    With(Output, Option<String>),
}

impl Left {
    pub(super) fn output(&self) -> Option<&Output> {
        match self {
            Self::With(output, None) => Some(output),
            Self::With(..) | Self::Never | Self::Caught(_) => None,
        }
    }
}

/// How the execution ended.
#[derive(Debug, Default, PartialEq)]
pub(super) enum End {
    #[default]
    Open,
    Succeeded,
    Failed(String),
}

/// The history, reduced to the last exits of the three states and the end.
#[derive(Default)]
pub(super) struct Walk {
    exits: BTreeMap<String, Exit>,
    carried: BTreeMap<String, Vec<u64>>,
    pub(super) end: End,
}

enum Exit {
    Caught(String),
    With(ExitOutput),
}

impl Walk {
    pub(super) fn through(names: &Names, history: &[HistoryEvent]) -> Self {
        let reader = Reader { names, accounts: &[] };
        let states = [&names.ensure_infra_state, &names.register_state, &names.check_state];
        let (mut walk, mut memory) = (Self::default(), Memory::default());
        for event in history {
            match &event.kind {
                HistoryKind::StateEntered { name, input: Some(input) } if *name == names.check_state => {
                    walk.carried.insert(name.clone(), carried(input));
                }
                HistoryKind::StateExited { name, output } if states.contains(&name) => {
                    let cause = if (1..event.id).contains(&event.previous) { event.previous } else { event.id - 1 };
                    let exit = memory.clone().named_failure(cause).map(Exit::Caught);
                    walk.exits.insert(name.clone(), exit.unwrap_or_else(|| Exit::With(output.clone())));
                }
                HistoryKind::Succeeded => walk.end = End::Succeeded,
                HistoryKind::Failed { error, cause }
                | HistoryKind::TimedOut { error, cause }
                | HistoryKind::Aborted { error, cause } => {
                    walk.end = End::Failed(joined(error.as_ref(), cause.as_ref()).unwrap_or_default());
                }
                HistoryKind::Redriven => walk.end = End::Open,
                _ => {}
            }
            memory = reader.read(slice::from_ref(event), event.id - 1, memory).memory;
        }
        walk
    }

    pub(super) fn left(&self, state: &str) -> Left {
        match self.exits.get(state) {
            None => Left::Never,
            Some(Exit::Caught(why)) => Left::Caught(why.clone()),
            Some(Exit::With(output)) => {
                let output = Output::read(output);
                // Variables may have the values that the output lacks.
                let flaw = output.flaw.clone().filter(|_| output.roots().next().is_none());
                Left::With(output, flaw)
            }
        }
    }

    pub(super) fn carried(&self, state: &str) -> &[u64] {
        self.carried.get(state).map_or(&[], Vec::as_slice)
    }
}
