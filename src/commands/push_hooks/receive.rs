//! Receive: decides on a delivery whose signature was verified. Decision and deployment are committed together; a delivery that is repeated, also
//! concurrently or after a death before the commit, has one decision.

use super::evaluate::evaluate;
use crate::commands::deploy::Starter;
use crate::commands::error::CommandError;
use crate::commands::push_hooks::error::PushHookError;
use crate::db::push_hooks::deliveries::{self, PushDelivery, PushDeliveryView, StoredDecision};
use crate::db::push_hooks::rules;
use crate::db::{Db, DbError};
use crate::domain::permission::SignIn;
use crate::domain::push_hook::facts::PushFacts;
use crate::domain::push_hook::payload::BrokenPayload;
use crate::domain::push_hook::reason::PushReason;
use crate::failpoints::reached;

/// Rows of requests without a valid signature that are kept for a push hook within an hour.
const MAX_UNVERIFIED: i64 = 20;

/// A delivery with its decision.
#[derive(Clone, Debug)]
pub struct DecidedPush {
    /// The stored row of the delivery.
    pub delivery: PushDeliveryView,
    /// Deployments that were asked to end in favour of the new one.
    pub superseded: Vec<String>,
    /// True if the delivery was received before, and this request had no effect.
    pub repeated: bool,
}

/// Decides on a delivery.
///
/// # Errors
/// The push hook does not exist, or the database cannot be used: nothing is stored, and GitHub's redelivery decides.
pub async fn receive(
    db: &Db,
    starter: Starter<'_>,
    sign_in: &SignIn,
    hook: &str,
    delivery: &PushDelivery,
) -> Result<DecidedPush, CommandError> {
    let mut tx = db.begin().await?;
    deliveries::lock_ref(&mut tx, hook, &delivery.facts).await?;
    if let Some(first) = deliveries::find(&mut tx, hook, delivery.id).await? {
        return Ok(DecidedPush { delivery: first, superseded: Vec::new(), repeated: true });
    }
    let Some((rules, enabled)) = rules(&mut tx, hook).await? else {
        return Err(PushHookError::NotFound(hook.to_owned()).into());
    };
    let made = evaluate(&mut tx, (starter, sign_in), (hook, &rules, enabled), delivery).await?;
    reached("push decided");
    let decision = StoredDecision { reason: &made.reason, deployment: made.deployment.as_deref() };
    deliveries::insert(&mut tx, hook, delivery, &decision).await?;
    let stored = deliveries::find(&mut tx, hook, delivery.id).await?;
    let missing = || DbError::Corrupt(format!("delivery {} is missing right after its insert", delivery.id));
    let stored = stored.ok_or_else(missing)?;
    tx.commit().await?;
    reached("push committed");
    Ok(DecidedPush { delivery: stored, superseded: made.superseded, repeated: false })
}

/// Records a delivery with a valid signature whose payload cannot be read; it starts nothing.
///
/// # Errors
/// As [`receive`].
pub async fn reject_payload(
    db: &Db,
    hook: &str,
    (id, event): (uuid::Uuid, &str),
    broken: BrokenPayload,
) -> Result<(), CommandError> {
    let delivery = PushDelivery { id, event: event.to_owned(), facts: PushFacts::default() };
    let mut tx = db.begin().await?;
    deliveries::lock_ref(&mut tx, hook, &delivery.facts).await?;
    if deliveries::find(&mut tx, hook, id).await?.is_none() && rules(&mut tx, hook).await?.is_some() {
        let reason = PushReason::PayloadInvalid(broken);
        deliveries::insert(&mut tx, hook, &delivery, &StoredDecision { reason: &reason, deployment: None }).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Records a request without a valid signature: 20 rows within an hour at most, the last of which counts the others.
///
/// # Errors
/// The database cannot be used.
pub async fn reject_signature(db: &Db, hook: &str, (id, event): (uuid::Uuid, &str)) -> Result<(), DbError> {
    db.record_unverified_push(hook, id, event, MAX_UNVERIFIED).await
}
