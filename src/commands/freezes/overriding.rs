//! Overrides: an approver starts or switches a deployment although a freeze holds it, with a reason that audit and events show.

use serde_json::{Value, json};

use crate::commands::deploy::error::DeployError;
use crate::commands::error::CommandError;
use crate::db::freezes::{self, FreezeSubject};
use crate::db::{DbError, PgConnection, events};
use crate::domain::freeze::Act;
use crate::domain::hold::{Hold, HoldCause};
use crate::domain::principal::Caller;

/// Returns what holds the start of a stored deployment: a freeze, or the windows of the policy in force. None for one that brings a version back.
pub(crate) async fn hold_of_start(tx: &mut PgConnection, id: &str) -> Result<Option<Hold>, DbError> {
    match freezes::subject(tx, id).await? {
        Some(subject) if !subject.rolls_back => freezes::hold_of_start(tx, &subject.place).await,
        _ => Ok(None),
    }
}

/// Returns what holds the switch of a stored deployment: a freeze, or the windows of its policy. One that was requested before is under way.
pub(crate) async fn hold_of_switch(tx: &mut PgConnection, subject: &FreezeSubject) -> Result<Option<Hold>, DbError> {
    if subject.rolls_back || subject.switch_requested {
        return Ok(None);
    }
    Ok(Hold::of(&freezes::pending(tx).await?, &subject.place, Act::Switch, subject.policy.as_ref()))
}

/// Returns what holds the switch that a further attempt may continue.
pub(crate) async fn hold_of_continued_switch(tx: &mut PgConnection, id: &str) -> Result<Option<Hold>, DbError> {
    match freezes::subject(tx, id).await? {
        Some(subject) => hold_of_switch(tx, &FreezeSubject { switch_requested: false, ..subject }).await,
        None => Ok(None),
    }
}

/// Requires that nothing holds the switch, or that the caller overrides it.
pub(crate) fn require_free(hold: Option<&Hold>, reason: Option<&str>, id: &str) -> Result<(), CommandError> {
    match hold {
        Some(Hold { cause, until }) if reason.is_none() => {
            let (id, until) = (id.to_owned(), *until);
            Err(match cause {
                HoldCause::Freeze(freeze) => DeployError::SwitchFrozen { id, freeze: Box::new(freeze.clone()), until },
                HoldCause::Window => DeployError::SwitchOutsideWindow { id, until },
            }
            .into())
        }
        _ => Ok(()),
    }
}

/// The details of an audit entry: the override, from which the steps know that it is for the gates as well.
pub(crate) fn details(hold: Option<&Hold>, reason: Option<&str>) -> Value {
    match reason {
        Some(reason) => json!({"override": {"freeze": hold.and_then(Hold::freeze_id), "reason": reason}}),
        None => json!({}),
    }
}

/// Publishes the override, if there was something to override.
pub(crate) async fn publish(
    tx: &mut PgConnection,
    id: &str,
    act: Act,
    (hold, reason): (Option<&Hold>, Option<&str>),
    by: &Caller,
) -> Result<(), DbError> {
    let Some((hold, reason)) = hold.zip(reason) else { return Ok(()) };
    events::append(tx, id, &hold.overridden(act, &by.principal.subject, reason)).await
}
