//! Clauses of the contract with the pipeline (docs/pipeline-contract.md), and which of them an execution keeps.

use super::event::HistoryEvent;
use super::status::{Meaning, own_status};
use super::values::{self, Values};
use super::walk::{End, Left, Walk};
use crate::domain::execution_input::image_of;
use crate::domain::message::{Message, message};
use crate::domain::names::Names;
use crate::domain::text;

/// Longest text from outside in a message, in characters.
const SHOWN_CHARS: usize = 200;

/// Answer to whether an execution keeps a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ClauseState {
    /// The execution keeps the clause.
    Kept,
    /// The execution breaks the clause.
    Broken,
    /// The execution has not come so far, or the clause depends on a broken one.
    Open,
}

/// Finding about one clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClauseFinding {
    /// Stable name of the clause.
    pub clause: &'static str,
    /// Demand of the clause.
    pub demand: Message,
    /// Whether the execution keeps it.
    pub state: ClauseState,
    /// Reason unless it is kept.
    pub reason: Option<Message>,
}

/// Content of the secret of the latest execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LatestArn {
    /// Its name does not follow from the input.
    Unnamed,
    /// It does not exist, or has no value.
    Absent,
    /// Its value has no ARN.
    WithoutArn,
    /// It names this execution.
    Named(String),
}

/// An execution to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// ARN of the execution.
    pub arn: &'a str,
    /// Input as JSON text; none if AWS withholds it.
    pub input: Option<&'a str>,
    /// Name of the secret.
    pub secret: &'a str,
    /// Content of the secret.
    pub latest: &'a LatestArn,
    /// Accounts whose resources the outputs may name.
    pub accounts: &'a [&'a str],
    /// The whole history, ascending.
    pub history: &'a [HistoryEvent],
}

/// Checks all clauses, in the order of the document.
pub fn check_contract(names: &Names, checked: &Checked<'_>) -> Vec<ClauseFinding> {
    let walk = Walk::through(names, checked.history);
    let mut findings = vec![input(checked), secret(checked)];
    findings.extend(outputs(names, checked, &walk));
    findings.push(match &walk.end {
        End::Failed(reason) => {
            broken("end", message!("clause.end"), message!("clause.end_failed", reason = shown(reason)))
        }
        End::Open | End::Succeeded => kept("end", message!("clause.end")),
    });
    findings
}

fn shown(text: &str) -> String {
    text::cut(text, SHOWN_CHARS)
}

fn kept(clause: &'static str, demand: Message) -> ClauseFinding {
    ClauseFinding { clause, demand, state: ClauseState::Kept, reason: None }
}

fn broken(clause: &'static str, demand: Message, reason: Message) -> ClauseFinding {
    ClauseFinding { clause, demand, state: ClauseState::Broken, reason: Some(reason) }
}

/// A clause is kept unless something breaks it.
fn unless(clause: &'static str, demand: Message, reason: Option<Message>) -> ClauseFinding {
    match reason {
        Some(reason) => broken(clause, demand, reason),
        None => kept(clause, demand),
    }
}

fn input(checked: &Checked<'_>) -> ClauseFinding {
    let reason = match checked.input {
        None => Some(message!("clause.input_withheld")),
        Some(input) => image_of(input).is_none().then(|| message!("clause.input_without_image")),
    };
    unless("input", message!("clause.input"), reason)
}

fn secret(checked: &Checked<'_>) -> ClauseFinding {
    let secret = checked.secret;
    let reason = match checked.latest {
        LatestArn::Named(arn) if arn == checked.arn => None,
        LatestArn::Named(other) => Some(message!("clause.secret_names_other", secret, other = shown(other))),
        LatestArn::Unnamed => Some(message!("clause.secret_unnamed")),
        LatestArn::Absent => Some(message!("clause.secret_absent", secret)),
        LatestArn::WithoutArn => Some(message!("clause.secret_without_arn", secret)),
    };
    unless("secret", message!("clause.secret"), reason)
}

/// The clauses of the three states and their outputs.
fn outputs(names: &Names, checked: &Checked<'_>, walk: &Walk) -> Vec<ClauseFinding> {
    let infra = walk.left(&names.ensure_infra_state);
    let registration = walk.left(&names.register_state);
    let check = walk.left(&names.check_state);
    let found = Found {
        infra: infra.output().map(|output| values::of_infra(output, checked.accounts)),
        registration: registration.output().map(|output| values::of_registration(output, checked.accounts)),
        check: check.output().map(|output| values::of_approval(output, checked.accounts)),
        open: if matches!(walk.end, End::Open) {
            message!("clause.open_running")
        } else {
            message!("clause.open_depends")
        },
    };
    let (state, registering, checking) = (&names.ensure_infra_state, &names.register_state, &names.check_state);
    vec![
        infra.finding(walk, "infra", message!("clause.infra", state), |left| match left {
            Left::Never => message!("clause.infra_missing", state),
            Left::Caught(why) => message!("clause.infra_caught", state, why = shown(why)),
            Left::With(_, flaw) => message!("clause.infra_unreadable", state, flaw = flaw.clone().unwrap_or_default()),
        }),
        found.names(),
        registration.finding(walk, "registration", message!("clause.registration", state = registering), |left| {
            match left {
                Left::Never => message!("clause.registration_missing", state = registering),
                Left::Caught(why) => message!("clause.registration_caught", state = registering, why = shown(why)),
                Left::With(_, flaw) => {
                    message!(
                        "clause.registration_unreadable",
                        state = registering,
                        flaw = flaw.clone().unwrap_or_default()
                    )
                }
            }
        }),
        found.code_deploy(),
        found.green(),
        found.blue(),
        found.accounts(),
        check.finding(walk, "check", message!("clause.check", state = checking), |left| match left {
            Left::Never => message!("clause.check_missing", state = checking),
            Left::Caught(why) => message!("clause.check_caught", state = checking, why = shown(why)),
            Left::With(_, flaw) => {
                message!("clause.check_unreadable", state = checking, flaw = flaw.clone().unwrap_or_default())
            }
        }),
        found.status(&check, walk.carried(&names.check_state)),
        found.target_groups(),
    ]
}

fn open(clause: &'static str, demand: Message, reason: Message) -> ClauseFinding {
    ClauseFinding { clause, demand, state: ClauseState::Open, reason: Some(reason) }
}

/// Values of the three outputs; none where an output cannot be read.
struct Found {
    infra: Option<Values>,
    registration: Option<Values>,
    check: Option<Values>,
    /// Reason of clauses that cannot be checked.
    open: Message,
}

impl Found {
    /// The clause of a value that the registration or the check may have: `value` finds it, `keys` name it among the refused ones.
    fn either(
        &self,
        (clause, demand): (&'static str, Message),
        value: impl Fn(&Values) -> bool,
        keys: &[&str],
        reason: impl FnOnce(Option<&String>) -> Option<Message>,
    ) -> ClauseFinding {
        let read = || self.registration.iter().chain(&self.check);
        if read().any(value) {
            return kept(clause, demand);
        }
        // The other output, which is not there yet, may have the value.
        let refused = read().find_map(|values| keys.iter().find_map(|key| values.refused.get(key)));
        if refused.is_none() && (self.registration.is_none() || self.check.is_none()) {
            return open(clause, demand, self.open.clone());
        }
        unless(clause, demand, reason(refused))
    }

    fn names(&self) -> ClauseFinding {
        let (clause, demand) = ("names", message!("clause.names"));
        let Some(Values { facts, .. }) = &self.infra else { return open(clause, demand, self.open.clone()) };
        let all = [
            ("clusterName", &facts.cluster_name),
            ("serviceName", &facts.service_name),
            ("taskDefinition", &facts.task_definition),
        ];
        let missing = missing(&all);
        unless(clause, demand, missing.map(|missing| message!("clause.names_missing", missing)))
    }

    fn code_deploy(&self) -> ClauseFinding {
        let clause = ("codeDeploy", message!("clause.code_deploy"));
        let has = |values: &Values| values.facts.rollout().is_some();
        let named = self.infra.iter().chain(&self.registration).any(|values| {
            let facts = &values.facts;
            facts.cluster_name.is_some() && facts.service_name.is_some()
        });
        let mut unreported = false;
        let finding =
            self.either(clause.clone(), has, &["codeDeployDeploymentId", "serviceDeploymentArn"], |refused| {
                unreported = refused.is_none();
                Some(match refused {
                    Some(why) => message!("clause.code_deploy_refused", why),
                    None => message!("clause.code_deploy_missing"),
                })
            });
        // Only AWS knows whether ECS has a deployment of the image.
        if unreported && named { open(clause.0, clause.1, message!("clause.code_deploy_searched")) } else { finding }
    }

    fn green(&self) -> ClauseFinding {
        let clause = ("green", message!("clause.green"));
        self.either(
            clause,
            |values| values.facts.green_url.is_some(),
            &["greenUrl"],
            |refused| {
                Some(match refused {
                    Some(why) => message!("clause.green_refused", why),
                    None => message!("clause.green_missing"),
                })
            },
        )
    }

    fn blue(&self) -> ClauseFinding {
        let clause = ("blue", message!("clause.blue"));
        self.either(
            clause,
            |values| values.facts.blue_url.is_some(),
            &["blueUrl"],
            |refused| refused.map(|why| message!("clause.blue_refused", why)),
        )
    }

    fn accounts(&self) -> ClauseFinding {
        let (clause, demand) = ("accounts", message!("clause.accounts"));
        let read: Vec<&Values> = self.registration.iter().chain(&self.check).collect();
        let refused = read.iter().flat_map(|values| &values.refused).find(|(key, _)| key.ends_with("Arn"));
        match refused {
            Some((_, why)) => broken(clause, demand, message!("clause.accounts_refused", why)),
            None if read.is_empty() => open(clause, demand, self.open.clone()),
            None => kept(clause, demand),
        }
    }

    fn status(&self, check: &Left, carried: &[u64]) -> ClauseFinding {
        let (clause, demand) = ("status", message!("clause.status"));
        let Some(output) = check.output() else { return open(clause, demand, self.open.clone()) };
        let reason = match own_status(output, carried) {
            Some(status) if status.meaning == Meaning::Approval => None,
            Some(status) => Some(message!("clause.status_other", status = format!("{:?}", shown(&status.text)))),
            None => Some(message!("clause.status_missing", keys = output.keys())),
        };
        unless(clause, demand, reason)
    }

    fn target_groups(&self) -> ClauseFinding {
        let (clause, demand) = ("targetGroups", message!("clause.target_groups"));
        let Some(Values { facts, .. }) = &self.check else { return open(clause, demand, self.open.clone()) };
        let all = [
            ("blueTargetGroupArn", &facts.blue_target_group_arn),
            ("greenTargetGroupArn", &facts.green_target_group_arn),
        ];
        unless(clause, demand, missing(&all).map(|missing| message!("clause.target_groups_missing", missing)))
    }
}

fn missing(all: &[(&str, &Option<String>)]) -> Option<String> {
    let missing: Vec<&str> = all.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

impl Left {
    /// The clause that the state was left with a readable result.
    fn finding(
        &self,
        walk: &Walk,
        clause: &'static str,
        demand: Message,
        reason: impl FnOnce(&Self) -> Message,
    ) -> ClauseFinding {
        match (self, &walk.end) {
            (Self::With(_, None), _) => kept(clause, demand),
            (Self::Never, End::Open) => open(clause, demand, message!("clause.open_running")),
            (Self::Never, End::Failed(_)) => open(clause, demand, message!("clause.open_failed")),
            _ => broken(clause, demand, reason(self)),
        }
    }
}
