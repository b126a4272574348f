//! Reads a piece of a history, event by event.

use super::event::{ExitOutput, HistoryEvent, HistoryKind};
use super::memory::{Change, Memory};
use super::output::Output;
use super::status::{Meaning, Status, carried, own_status};
use super::values::{self, Values};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::Names;
use crate::domain::text;

/// Rules for reading histories.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Names of the three states.
    pub names: &'a Names,
    /// AWS accounts whose resources an output may name; empty accepts all.
    pub accounts: &'a [&'a str],
}

/// Result of reading a piece of history.
#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    /// Events to emit, in order.
    pub events: Vec<Event>,
    /// Observed facts, including the id of the last history event acted on.
    pub facts: Facts,
    /// What reading the next piece needs.
    pub memory: Memory,
    /// Id of the first event that is not visible although a later one is: reading stopped before it.
    pub missing: Option<i64>,
    /// Decision about the deployment, if the piece contains one.
    pub verdict: Option<Verdict>,
}

/// Decision that a history implies.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Green is up, and the deployment awaits approval.
    WaitingApproval,
    /// The execution succeeded. Where the traffic is, only CodeDeploy knows.
    Succeeded,
    /// The execution can no longer succeed.
    Failed {
        /// Error code of the deployment.
        code: ErrorCode,
        /// Error and cause that the execution reports.
        reason: String,
    },
}

impl Reader<'_> {
    /// Reads the events after `after`, up to and including the one that decides, or up to the first gap. `history` is ascending.
    ///
    /// Unknown events, or none at all, decide nothing.
    pub fn read(&self, history: &[HistoryEvent], after: i64, memory: Memory) -> Reading {
        let mut piece = Piece { reader: self, reading: Reading { memory, ..Reading::default() } };
        let mut last = after;
        for (at, event) in history.iter().enumerate() {
            if event.id <= last {
                continue;
            }
            if event.id - 1 > last {
                // Acting on the rest would lose the missing event, because the cursor passes it.
                piece.reading.missing = Some(last + 1);
                break;
            }
            last = event.id;
            piece.reading.facts.last_history_event_id = Some(last);
            piece.apply(event);
            let redriven = || history[at + 1..].iter().any(|later| later.kind == HistoryKind::Redriven);
            match piece.reading.verdict {
                Some(Verdict::Failed { .. }) if redriven() => piece.reading.verdict = None,
                Some(_) => break,
                None => {}
            }
        }
        piece.end()
    }
}

struct Piece<'a> {
    reader: &'a Reader<'a>,
    reading: Reading,
}

impl Piece<'_> {
    fn end(mut self) -> Reading {
        if let Some(Verdict::Failed { .. }) = self.reading.verdict {
            self.polling("FAILED");
        }
        self.reading
    }

    fn apply(&mut self, event: &HistoryEvent) {
        // An event without a cause follows the one before it; AWS omits the cause of the first events only.
        let cause = if (1..event.id).contains(&event.previous) { event.previous } else { event.id - 1 };
        let failure = self.reading.memory.named_failure(cause);
        match &event.kind {
            HistoryKind::StateEntered { name, input } => self.entered(name, input.as_deref()),
            HistoryKind::StateExited { name, output } => match failure {
                Some(why) => self.caught(event.id, name, &why),
                None => self.exited(event.id, name, output),
            },
            HistoryKind::Failure { error, cause } => {
                let own = joined(error.as_ref(), cause.as_ref());
                let what = own.or(failure).unwrap_or_default();
                self.reading.memory.open_failure(event.id, &what);
            }
            HistoryKind::Unknown => {
                if let Some(what) = failure {
                    self.reading.memory.open_failure(event.id, &what);
                }
            }
            HistoryKind::Succeeded => {
                self.polling("SUCCEEDED");
                self.reading.verdict = Some(Verdict::Succeeded);
            }
            HistoryKind::Failed { error, cause } => {
                self.fail(ErrorCode::ExecutionFailed, error.as_ref(), cause.as_ref());
            }
            HistoryKind::TimedOut { error, cause } => {
                self.fail(ErrorCode::ExecutionTimedOut, error.as_ref(), cause.as_ref());
            }
            HistoryKind::Aborted { error, cause } => {
                self.fail(ErrorCode::ExecutionAborted, error.as_ref(), cause.as_ref());
            }
            HistoryKind::Redriven | HistoryKind::Progress => {}
        }
    }

    fn fail(&mut self, code: ErrorCode, error: Option<&String>, cause: Option<&String>) {
        let reason = joined(error, cause).map(|reason| text::reason(&reason));
        let reason = reason.unwrap_or_else(|| "the execution gave no cause".to_owned());
        self.reading.verdict = Some(Verdict::Failed { code, reason });
    }

    fn entered(&mut self, name: &str, input: Option<&str>) {
        let names = self.reader.names;
        if *name == names.ensure_infra_state {
            self.polling("ENSURE_INFRA_IN_PROGRESS");
            self.emit(Event::new(EventCode::InfraStarted));
        } else if *name == names.register_state {
            self.polling("REGISTER_TASK_IN_PROGRESS");
            self.emit(Event::new(EventCode::BlueGreenStarted));
        } else if *name == names.check_state {
            self.reading.memory.check_entered(input.map(carried).unwrap_or_default());
        }
    }

    /// A state was left because its failure was caught: it has no result.
    fn caught(&mut self, id: i64, name: &str, why: &str) {
        let names = self.reader.names;
        let states = [&names.ensure_infra_state, &names.register_state, &names.check_state];
        if !states.into_iter().any(|state| *state == name) {
            return;
        }
        let why = if why.is_empty() { "no cause was given" } else { why };
        let seen = format!("{name} failed and the state machine handled the failure (event {id}): {why}");
        if *name == names.check_state {
            self.reading.memory.check_left(false, seen);
        } else {
            self.reading.memory.rollout_began();
            self.reading.memory.state_failed(seen);
        }
    }

    fn exited(&mut self, id: i64, name: &str, output: &ExitOutput) {
        let names = self.reader.names;
        if *name == names.ensure_infra_state {
            self.infra_completed(&Output::read(output));
        } else if *name == names.register_state {
            self.registered(&Output::read(output));
        } else if *name == names.check_state {
            self.checked(id, name, &Output::read(output));
        }
    }

    fn infra_completed(&mut self, output: &Output) {
        self.polling("ENSURE_INFRA_COMPLETED");
        self.reading.memory.state_succeeded();
        let facts = self.keep(values::of_infra(output, self.reader.accounts));
        self.emit(
            Event::new(EventCode::InfraCompleted)
                .with_known("cluster_name", facts.cluster_name.as_deref())
                .with_known("service_name", facts.service_name.as_deref())
                .with_known("task_definition", facts.task_definition.as_deref()),
        );
    }

    fn registered(&mut self, output: &Output) {
        self.polling("REGISTER_TASK_COMPLETED");
        self.reading.memory.state_succeeded();
        self.reading.memory.rollout_began();
        let facts = self.keep(values::of_registration(output, self.reader.accounts));
        if let Some(url) = &facts.blue_url {
            self.emit(Event::new(EventCode::BlueRunning).with("blue_url", url.as_str()));
        }
        if let Some(url) = &facts.green_url {
            self.emit(Event::new(EventCode::GreenReady).with("green_url", url.as_str()));
        }
        self.emit(
            Event::new(EventCode::BlueGreenInProgress)
                .with_known("cluster_name", facts.cluster_name.as_deref())
                .with_known("service_name", facts.service_name.as_deref())
                .with_known("blue_service_arn", facts.blue_service_arn.as_deref())
                .with_known("blue_url", facts.blue_url.as_deref())
                .with_known("green_service_arn", facts.green_service_arn.as_deref())
                .with_known("green_url", facts.green_url.as_deref())
                .with_known("code_deploy_deployment_id", facts.code_deploy_deployment_id.as_deref())
                .with_known("code_deploy_application_name", facts.code_deploy_application_name.as_deref()),
        );
    }

    fn checked(&mut self, id: i64, name: &str, output: &Output) {
        let status = own_status(output, self.reading.memory.carried());
        if status.as_ref().is_some_and(|status| status.meaning == Meaning::Approval) {
            self.polling("DEPLOYMENT_READY");
            self.keep(values::of_approval(output, self.reader.accounts));
            self.reading.verdict = Some(Verdict::WaitingApproval);
            return;
        }
        self.keep(values::of_rollout(output, self.reader.accounts));
        let succeeded = status.as_ref().is_some_and(Status::is_success);
        let seen = match (status, &output.flaw) {
            (Some(status), _) => format!("{name} reported the status {:?} (event {id})", text::cut(&status.text, 80)),
            (None, Some(flaw)) => format!("the output of {name} {flaw} (event {id})"),
            (None, None) => {
                format!("the output of {name} reports no status itself, but {} (event {id})", output.keys())
            }
        };
        self.reading.memory.check_left(succeeded, seen);
    }

    /// Takes over facts and refusals of an output; an absent value overwrites nothing. Returns the output's own facts.
    fn keep(&mut self, mut values: Values) -> Facts {
        for key in values.settled() {
            let refused = values.refused.remove(key);
            self.reading.memory.refuse(key, refused);
        }
        self.reading.facts.merge(values.facts.clone());
        values.facts
    }

    fn polling(&mut self, state: &str) {
        self.reading.facts.polling_state = Some(state.to_owned());
    }

    fn emit(&mut self, event: Event) {
        let id = self.reading.facts.last_history_event_id.unwrap_or_default();
        match self.reading.memory.is_change(&event) {
            Change::First => self.reading.events.push(event),
            Change::Other => self.reading.events.push(event.keyed(format_args!("history:{id}"))),
            Change::Same => {}
        }
    }
}

/// Joins error and cause; `None` if neither says anything.
pub(super) fn joined(error: Option<&String>, cause: Option<&String>) -> Option<String> {
    let texts: Vec<&str> =
        [error, cause].into_iter().flatten().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}
