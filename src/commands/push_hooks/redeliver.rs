//! Redeliver: decides on a stored delivery again, by the present rules and with the owner's present permission.

use serde_json::json;
use uuid::Uuid;

use super::error::PushHookError;
use super::evaluate::evaluate;
use super::receive::DecidedPush;
use super::{record, visible};
use crate::commands::access::require_role;
use crate::commands::deploy::Starter;
use crate::commands::error::CommandError;
use crate::db::push_hooks::deliveries::{self, PushDelivery, StoredDecision};
use crate::db::push_hooks::{find, rules};
use crate::db::{Db, PgConnection};
use crate::domain::audit::Action;
use crate::domain::permission::SignIn;
use crate::domain::principal::{Caller, Role};

/// Decides on a delivery again that has started no deployment.
///
/// # Errors
/// The caller is no admin, there is no such push hook or delivery, or it has started a deployment.
pub async fn redeliver(
    db: &Db,
    (starter, sign_in): (Starter<'_>, &SignIn),
    (hook, delivery): (&str, &str),
    by: &Caller,
) -> Result<DecidedPush, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    visible(find(&mut tx, hook).await?, hook, by)?;
    let delivery = stored(&mut tx, hook, delivery).await?;
    deliveries::lock_ref(&mut tx, hook, &delivery.facts).await?;
    let not_found = || PushHookError::DeliveryNotFound(delivery.id.to_string());
    // Read behind the lock: a concurrent redelivery may have started one.
    let before = deliveries::find(&mut tx, hook, delivery.id).await?.ok_or_else(not_found)?;
    if let Some(deployment) = before.deployment_id {
        return Err(PushHookError::DeliveryStarted(deployment).into());
    }
    let not_hook = || PushHookError::NotFound(hook.to_owned());
    let (rules, enabled) = rules(&mut tx, hook).await?.ok_or_else(not_hook)?;
    let made = evaluate(&mut tx, (starter, sign_in), (hook, &rules, enabled), &delivery).await?;
    let decision = StoredDecision { reason: &made.reason, deployment: made.deployment.as_deref() };
    deliveries::decide_again(&mut tx, hook, delivery.id, &decision).await?;
    let details =
        json!({"delivery": delivery.id.to_string(), "reason": made.reason.code(), "deployment": made.deployment});
    record(&mut tx, by, Action::RedeliverPush, hook, details).await?;
    let after = deliveries::find(&mut tx, hook, delivery.id).await?.ok_or_else(not_found)?;
    tx.commit().await?;
    Ok(DecidedPush { delivery: after, superseded: made.superseded, repeated: false })
}

async fn stored(tx: &mut PgConnection, hook: &str, delivery: &str) -> Result<PushDelivery, CommandError> {
    let not_found = || PushHookError::DeliveryNotFound(delivery.to_owned());
    let id: Uuid = delivery.parse().map_err(|_| not_found())?;
    let row = deliveries::find(tx, hook, id).await?.ok_or_else(not_found)?;
    let facts = deliveries::facts(tx, hook, id).await?.ok_or_else(not_found)?;
    Ok(PushDelivery { id, event: row.event, facts })
}
