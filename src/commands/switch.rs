//! Switch: an approver requests that the traffic of a ready deployment moves to green. Requesting it again changes nothing.

use serde_json::Value;

use super::access::require_role;
use super::deploy::error::DeployError;
use super::deployment_change::{Begun, DeploymentChange, not_found};
use super::error::CommandError;
use super::freezes::overriding::{self, hold_of_switch, require_free};
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::deployments::requests;
use crate::db::freezes::FreezeSubject;
use crate::db::{Db, PgConnection, events, freezes, policies};
use crate::domain::audit::Action;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Status;
use crate::domain::event::Event;
use crate::domain::freeze::Act;
use crate::domain::policy::Policy;
use crate::domain::principal::{Caller, Role};

/// Conditions of a switch.
#[derive(Clone, Copy, Debug)]
pub struct SwitchTerms<'a> {
    /// The caller that started the attempt may not approve it.
    pub four_eyes: bool,
    /// Digest of the image that the approver has reviewed; none for whatever is ready.
    pub image_digest: Option<&'a str>,
    /// Id of the pause that the approver has reviewed; none for the one that awaits approval.
    pub pause: Option<&'a str>,
    /// Reason for which freezes do not hold the switch; none if they do.
    pub freeze_override: Option<&'a str>,
}

/// Requests the switch, or approves it where the policy requires more approvers, and stores `answer` (made from the number of missing ones) under the key.
///
/// # Errors
/// The caller is not an approver or started the attempt, or the deployment is unknown, not ready, already switched, being cancelled, of another image, or
/// held by a freeze or the policy.
pub async fn switch(
    db: &Db,
    change: DeploymentChange<'_>,
    terms: SwitchTerms<'_>,
    answer: impl Fn(i64) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    let DeploymentChange { id, by, .. } = change;
    require_role(by, Role::Approver)?;
    let mut tx = match change.begin(db).await? {
        Begun::First(tx) => tx,
        Begun::Repeated(answer) => return Ok(Idempotent::Replayed(answer)),
    };
    let subject = freezes::subject(&mut tx, id).await?;
    let policy = subject.as_ref().map(switch_policy).unwrap_or_default();
    if (terms.four_eyes || policy.approvals.four_eyes) && has_started(&mut tx, id, by).await? {
        return Err(DeployError::ApproverStartedIt(id.to_owned()).into());
    }
    let hold = match &subject {
        Some(subject) => hold_of_switch(&mut tx, subject).await?,
        None => None,
    };
    let (hold, reason) = (hold.as_ref(), terms.freeze_override);
    let repeated = subject.is_some_and(|subject| subject.switch_requested);
    let count = i64::from(policy.approvals.count);
    if count > 1 && !repeated {
        let audited = change.record_with(&mut tx, Action::Approve, overriding::details(hold, reason)).await?;
        let subject = &by.principal.subject;
        if let Some(approval) =
            policies::approve(&mut tx, id, subject, (terms.image_digest, terms.pause), audited).await?
        {
            require_free(hold, reason, id)?;
            require_in_time(&mut tx, id, &policy).await?;
            let answer = answer(count - approval.given);
            if approval.given < count {
                // Approving again changes nothing: the transaction is dropped with its audit entry.
                if approval.new {
                    let event = Event::new(EventCode::SwitchApproved).with("by", subject.as_str());
                    let event = event.with("given", approval.given).with("count", count).keyed(approval.given);
                    events::append(&mut tx, id, &event).await?;
                    tx.commit(&answer).await?;
                }
                return Ok(Idempotent::Fresh(answer));
            }
        }
    }
    let audited = change.record_with(&mut tx, Action::Switch, overriding::details(hold, reason)).await?;
    if requests::request_switch(&mut tx, id, (terms.image_digest, terms.pause), audited).await? {
        require_free(hold, reason, id)?;
        if !repeated {
            require_in_time(&mut tx, id, &policy).await?;
        }
        overriding::publish(&mut tx, id, Act::Switch, (hold, reason), by).await?;
        let answer = answer(0);
        tx.commit(&answer).await?;
        return Ok(Idempotent::Fresh(answer));
    }
    Err(refusal(&mut tx, &change, terms).await?)
}

/// The policy of a switch: that of the attempt; the return of a version needs one approver.
fn switch_policy(subject: &FreezeSubject) -> Policy {
    subject.policy.clone().filter(|_| !subject.rolls_back).unwrap_or_default()
}

/// Requires that the policy's time for approvals has not passed.
async fn require_in_time(tx: &mut PgConnection, id: &str, policy: &Policy) -> Result<(), CommandError> {
    let Some((ready_at, now)) = policies::ready_since(tx, id).await? else { return Ok(()) };
    match policy.approvals_until(ready_at) {
        Some(until) if until <= now => Err(DeployError::ApprovalsClosed { id: id.to_owned(), until }.into()),
        _ => Ok(()),
    }
}

/// The reason for which the row takes no switch.
async fn refusal(
    tx: &mut PgConnection,
    change: &DeploymentChange<'_>,
    terms: SwitchTerms<'_>,
) -> Result<CommandError, CommandError> {
    let id = change.id.to_owned();
    Ok(match requests::status(tx, &id).await? {
        None => not_found(tx, change).await,
        Some(Status::Running) => {
            let stage = events::latest_stage(tx, &id).await?;
            DeployError::SwitchTooEarly { id, stage }.into()
        }
        Some(Status::Completed) => DeployError::AlreadySwitched(id).into(),
        Some(Status::Failed) => DeployError::Failed(id).into(),
        // Only a requested cancellation, another image or another pause prevents the switch of a ready deployment.
        Some(Status::DeploymentReady) => match (terms.image_digest, requests::image_digest(tx, &id).await?) {
            (Some(reviewed), Some(actual)) if reviewed != actual => DeployError::ImageChanged { id, actual }.into(),
            _ => match (terms.pause, requests::pause(tx, &id).await?) {
                (Some(reviewed), actual) if actual.as_deref() != Some(reviewed) => {
                    DeployError::PauseChanged { id, actual }.into()
                }
                _ => DeployError::BeingCancelled(id).into(),
            },
        },
    })
}

/// Reports that `four_eyes`, or the policy, keeps the caller from approving the deployment, whatever their role.
///
/// # Errors
/// The database.
pub async fn needs_other_approver(db: &Db, id: &str, by: &Caller, four_eyes: bool) -> Result<bool, CommandError> {
    let mut tx = KeyedTransaction::begin(db, None).await?;
    let policy = freezes::subject(&mut tx, id).await?.as_ref().map(switch_policy).unwrap_or_default();
    Ok((four_eyes || policy.approvals.four_eyes) && has_started(&mut tx, id, by).await?)
}

/// Reports that the caller started the attempt. The owner of a schedule or push hook counts as the starter of its deployments: otherwise it would let a
/// caller approve their own deployment.
async fn has_started(tx: &mut PgConnection, id: &str, by: &Caller) -> Result<bool, CommandError> {
    let starter = requests::starter(tx, id).await?;
    Ok(starter.is_some_and(|starter| by.principal.known_subject() == Some(&starter)))
}
