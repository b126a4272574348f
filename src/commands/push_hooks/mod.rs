//! Push hooks: an admin of the repositories of its rules creates, changes and deletes a push hook, and rotates its secret. [`receive`] decides on what
//! GitHub sends.

pub mod error;
mod evaluate;
pub mod receive;
pub mod redeliver;

use secrecy::SecretString;
use serde_json::{Value, json};

use self::error::PushHookError;
use super::access::require_role;
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::idempotency::IdempotencyKey;
use crate::db::push_hooks::{self, PushHookSettings, PushHookView, secrets};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::ids;
use crate::domain::message::Message;
use crate::domain::principal::{Caller, Role, Scope};
use crate::domain::push_hook::{self, MAX_PUSH_HOOKS};
use crate::domain::webhook::MAX_SECRETS;

/// Creates a push hook with its first secret, and stores `answer` (made from it, and without the secret) under the key. The caller becomes its owner.
///
/// # Errors
/// The caller is not an admin of the repositories, or there are too many push hooks.
pub async fn create(
    db: &Db,
    settings: &PushHookSettings,
    secret: &SecretString,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(PushHookView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_admin_of(by, settings)?;
    let id = ids::push_hook_id();
    // Before the transaction, because a key service may be called.
    let row_key = db.push_hook_row_key(&id).await?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    if push_hooks::count(&mut tx).await? >= MAX_PUSH_HOOKS {
        return Err(PushHookError::TooMany.into());
    }
    push_hooks::insert(&mut tx, &id, settings, (&row_key, secret), by).await?;
    record(&mut tx, by, Action::CreatePushHook, &id, details(settings)).await?;
    let made = push_hooks::find(&mut tx, &id).await?;
    let missing = || DbError::Corrupt(format!("push hook {id} is missing right after its insert"));
    let answer = answer(made.ok_or_else(missing)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Lists the push hooks of which the caller is an admin.
///
/// # Errors
/// The caller is no admin.
pub async fn list(db: &Db, by: &Caller) -> Result<Vec<PushHookView>, CommandError> {
    require_role(by, Role::Admin)?;
    let mut all = db.push_hooks().await?;
    all.retain(|hook| is_visible(hook, by));
    Ok(all)
}

/// Returns a push hook of which the caller is an admin.
///
/// # Errors
/// The caller is no admin, or its scope has no such push hook.
pub async fn show(db: &Db, id: &str, by: &Caller) -> Result<PushHookView, CommandError> {
    require_role(by, Role::Admin)?;
    visible(db.push_hook(id).await?, id, by)
}

/// Replaces the settings of a push hook. The caller becomes its owner, with whose permission it acts from now on.
///
/// # Errors
/// The caller is not an admin of the repositories before and after the change, or there is no such push hook.
pub async fn change(db: &Db, id: &str, settings: &PushHookSettings, by: &Caller) -> Result<PushHookView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    visible(push_hooks::lock(&mut tx, id).await?, id, by)?;
    require_admin_of(by, settings)?;
    push_hooks::update(&mut tx, id, settings, by).await?;
    record(&mut tx, by, Action::ChangePushHook, id, details(settings)).await?;
    let changed = push_hooks::find(&mut tx, id).await?;
    tx.commit().await?;
    visible(changed, id, by)
}

/// Deletes a push hook with its secrets and deliveries, and returns it as it was. Deployments that it started continue.
///
/// # Errors
/// The caller is no admin, or its scope has no such push hook.
pub async fn delete(db: &Db, id: &str, by: &Caller) -> Result<PushHookView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    let found = visible(push_hooks::lock(&mut tx, id).await?, id, by)?;
    push_hooks::delete(&mut tx, id).await?;
    record(&mut tx, by, Action::DeletePushHook, id, json!({})).await?;
    tx.commit().await?;
    Ok(found)
}

/// Adds a secret. Those before it are accepted for `hours` more, so that GitHub's settings can be changed meanwhile.
///
/// # Errors
/// The caller is no admin, its scope has no such push hook, or too many secrets are valid already.
pub async fn rotate(
    db: &Db,
    id: &str,
    (secret, hours): (&SecretString, i64),
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(PushHookView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_role(by, Role::Admin)?;
    let not_found = || PushHookError::NotFound(id.to_owned());
    let row_key = db.stored_push_hook_key(id).await?.ok_or_else(not_found)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let found = visible(push_hooks::lock(&mut tx, id).await?, id, by)?;
    let valid = i64::try_from(found.previous_secrets_until.len()).unwrap_or(MAX_SECRETS) + 1;
    if valid >= MAX_SECRETS && hours > 0 {
        return Err(PushHookError::TooManySecrets(id.to_owned()).into());
    }
    secrets::rotate(&mut tx, id, (&row_key, secret), hours).await?;
    record(&mut tx, by, Action::RotatePushHook, id, json!({"hours": hours})).await?;
    let answer = answer(push_hooks::find(&mut tx, id).await?.ok_or_else(not_found)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Requires an admin whose scope has all repositories of the rules.
fn require_admin_of(by: &Caller, settings: &PushHookSettings) -> Result<(), CommandError> {
    require_role(by, Role::Admin)?;
    let repositories = push_hook::repositories(&settings.rules);
    if by.scope().includes(&repositories) {
        return Ok(());
    }
    Err(CommandError::OutOfScope(Message::verbatim(repositories.to_string())))
}

fn is_visible(hook: &PushHookView, by: &Caller) -> bool {
    by.scope().includes(&Scope::Repositories(hook.repositories.clone()))
}

fn visible(hook: Option<PushHookView>, id: &str, by: &Caller) -> Result<PushHookView, CommandError> {
    hook.filter(|hook| is_visible(hook, by)).ok_or_else(|| PushHookError::NotFound(id.to_owned()).into())
}

/// The settings as the audit log shows them.
fn details(settings: &PushHookSettings) -> Value {
    json!({"name": settings.name, "enabled": settings.enabled, "rules": settings.rules})
}

async fn record(tx: &mut PgConnection, by: &Caller, action: Action, id: &str, details: Value) -> Result<(), DbError> {
    let entry = AuditRecord { by, action, target: Some(id), repository: None, refused: None, details };
    audit::record(tx, &entry).await.map(drop)
}
