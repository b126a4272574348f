//! Automatic switches: the policy that a ready deployment copied switches it, without an approver.
//!
//! The command is that of a person, in the name of the policy: freezes, windows, gates and the listener guard decide as for anyone. After a refusal by a
//! gate or the guard, a person decides: nothing is requested again for the same pause.

use serde_json::{Value, json};

use super::deployment_change::DeploymentChange;
use super::error::CommandError;
use super::idempotency::Idempotent;
use super::switch::{SwitchTerms, switch};
use crate::db::{Db, DbError};
use crate::domain::auto_switch::AutoSwitch;
use crate::domain::principal::Caller;

/// Requests the switches that are due, and returns the ids of their deployments.
///
/// # Errors
/// The database is unavailable: the switches stay due.
pub async fn switch_due(db: &Db) -> Result<Vec<String>, DbError> {
    let by = Caller::policy();
    let mut switched = Vec::new();
    for ready in db.automatic_switches().await? {
        let Ok(rule) = ready.rule.parse::<AutoSwitch>() else { continue };
        if rule.due(ready.awaited_at).is_none_or(|due| due > ready.now) {
            continue;
        }
        let answer = json!({});
        let change = DeploymentChange { id: &ready.id, key: None, by: &by, answer: &answer };
        let terms = SwitchTerms {
            four_eyes: false,
            image_digest: ready.image_digest.as_deref(),
            freeze_override: None,
            pause: None,
        };
        match switch(db, change, terms, |_| Value::Null).await {
            Ok(Idempotent::Fresh(_) | Idempotent::Replayed(_)) => switched.push(ready.id),
            Err(CommandError::Database(error)) => return Err(error),
            // Held by a freeze or a window, or changed meanwhile: the next run looks again.
            Err(refused) => tracing::debug!(deployment = ready.id, error = %refused, "automatic switch refused"),
        }
    }
    Ok(switched)
}
