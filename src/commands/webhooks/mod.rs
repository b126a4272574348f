//! Webhooks: an admin of the repositories whose events a webhook receives creates, changes and deletes it, rotates its secret, and replays deliveries that
//! failed. `background/outbox` delivers.

pub mod error;
pub mod probe;

use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use self::error::WebhookError;
use super::access::require_role;
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::idempotency::IdempotencyKey;
use crate::db::webhooks::{self, DeliveryView, WebhookSettings, WebhookView};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::ids;
use crate::domain::message::{Message, message};
use crate::domain::principal::{Caller, Role, Scope};
use crate::domain::webhook::{MAX_SECRETS, MAX_WEBHOOKS};

/// Creates a webhook with its first secret, and stores `answer` (made from it, and without the secret) under the key.
///
/// # Errors
/// The caller is not an admin of the repositories, or there are too many webhooks.
pub async fn create(
    db: &Db,
    settings: &WebhookSettings,
    secret: &SecretString,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(WebhookView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_admin_of(by, &settings.filter.repositories)?;
    let id = ids::webhook_id();
    // Before the transaction, because a key service may be called.
    let row_key = db.webhook_row_key(&id).await?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    if webhooks::count(&mut tx).await? >= MAX_WEBHOOKS {
        return Err(WebhookError::TooMany.into());
    }
    webhooks::insert(&mut tx, &id, settings, &row_key, secret, &by.principal.subject).await?;
    record(&mut tx, by, Action::CreateWebhook, &id, details(settings)).await?;
    let made = webhooks::find(&mut tx, &id).await?;
    let missing = || DbError::Corrupt(format!("webhook {id} is missing right after its insert"));
    let answer = answer(made.ok_or_else(missing)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Lists the webhooks of which the caller is an admin.
///
/// # Errors
/// The caller is no admin.
pub async fn list(db: &Db, by: &Caller) -> Result<Vec<WebhookView>, CommandError> {
    require_role(by, Role::Admin)?;
    let mut all = db.webhooks().await?;
    all.retain(|webhook| is_visible(webhook, by));
    Ok(all)
}

/// Returns a webhook of which the caller is an admin.
///
/// # Errors
/// The caller is no admin, or its scope has no such webhook.
pub async fn show(db: &Db, id: &str, by: &Caller) -> Result<WebhookView, CommandError> {
    require_role(by, Role::Admin)?;
    visible(db.webhook(id).await?, id, by)
}

/// Replaces the settings of a webhook. One that is enabled again receives the events from now on.
///
/// # Errors
/// The caller is not an admin of the repositories before and after the change, or there is no such webhook.
pub async fn change(db: &Db, id: &str, settings: &WebhookSettings, by: &Caller) -> Result<WebhookView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    visible(webhooks::lock(&mut tx, id).await?, id, by)?;
    require_admin_of(by, &settings.filter.repositories)?;
    webhooks::update(&mut tx, id, settings).await?;
    record(&mut tx, by, Action::ChangeWebhook, id, details(settings)).await?;
    let changed = webhooks::find(&mut tx, id).await?;
    tx.commit().await?;
    visible(changed, id, by)
}

/// Deletes a webhook with its secrets and deliveries, and returns it as it was.
///
/// # Errors
/// The caller is no admin, or its scope has no such webhook.
pub async fn delete(db: &Db, id: &str, by: &Caller) -> Result<WebhookView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    let found = visible(webhooks::lock(&mut tx, id).await?, id, by)?;
    webhooks::delete(&mut tx, id).await?;
    record(&mut tx, by, Action::DeleteWebhook, id, json!({})).await?;
    tx.commit().await?;
    Ok(found)
}

/// Adds a secret. Those before it sign for `hours` more, so that the receiver can accept both meanwhile.
///
/// # Errors
/// The caller is no admin, its scope has no such webhook, or too many secrets are valid already.
pub async fn rotate(
    db: &Db,
    id: &str,
    (secret, hours): (&SecretString, i64),
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(WebhookView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_role(by, Role::Admin)?;
    let not_found = || WebhookError::NotFound(id.to_owned());
    let row_key = db.stored_webhook_key(id).await?.ok_or_else(not_found)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let found = visible(webhooks::lock(&mut tx, id).await?, id, by)?;
    let valid = i64::try_from(found.previous_secrets_until.len()).unwrap_or(MAX_SECRETS) + 1;
    if valid >= MAX_SECRETS && hours > 0 {
        return Err(WebhookError::TooManySecrets(id.to_owned()).into());
    }
    webhooks::rotate(&mut tx, id, &row_key, secret, hours).await?;
    record(&mut tx, by, Action::RotateWebhook, id, json!({"hours": hours})).await?;
    let answer = answer(webhooks::find(&mut tx, id).await?.ok_or_else(not_found)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Makes a dead delivery due again.
///
/// # Errors
/// The caller is no admin, there is no such webhook or delivery, it is not dead, or its event was removed.
pub async fn replay(db: &Db, id: &str, delivery: &str, by: &Caller) -> Result<DeliveryView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    visible(webhooks::lock(&mut tx, id).await?, id, by)?;
    let not_found = || WebhookError::DeliveryNotFound(delivery.to_owned());
    let event: Uuid = delivery.parse().map_err(|_| not_found())?;
    match webhooks::delivery_state(&mut tx, id, event).await?.ok_or_else(not_found)? {
        (state, _) if state != "dead" => return Err(WebhookError::DeliveryNotDead(state).into()),
        (_, false) => return Err(WebhookError::EventRemoved(delivery.to_owned()).into()),
        _ => {}
    }
    let replayed = webhooks::replay(&mut tx, id, event).await?.ok_or_else(not_found)?;
    record(&mut tx, by, Action::ReplayDelivery, id, json!({"delivery": delivery})).await?;
    tx.commit().await?;
    Ok(replayed)
}

/// Requires an admin whose scope has all repositories of a webhook.
fn require_admin_of(by: &Caller, repositories: &Scope) -> Result<(), CommandError> {
    require_role(by, Role::Admin)?;
    if by.scope().includes(repositories) {
        return Ok(());
    }
    Err(CommandError::OutOfScope(match repositories {
        Scope::All => message!("OUT_OF_SCOPE.all"),
        Scope::Repositories(names) => Message::verbatim(names.join(", ")),
    }))
}

fn is_visible(webhook: &WebhookView, by: &Caller) -> bool {
    by.scope().includes(&Scope::from_sql(webhook.repositories.clone()))
}

fn visible(webhook: Option<WebhookView>, id: &str, by: &Caller) -> Result<WebhookView, CommandError> {
    webhook.filter(|webhook| is_visible(webhook, by)).ok_or_else(|| WebhookError::NotFound(id.to_owned()).into())
}

/// The settings as the audit log shows them: without the address, which may authenticate.
fn details(settings: &WebhookSettings) -> Value {
    json!({
        "events": settings.filter.events, "repositories": settings.filter.repositories.sql(), "enabled": settings.enabled,
        "language": settings.lang.as_str(),
    })
}

async fn record(tx: &mut PgConnection, by: &Caller, action: Action, id: &str, details: Value) -> Result<(), DbError> {
    let entry = AuditRecord { by, action, target: Some(id), repository: None, refused: None, details };
    audit::record(tx, &entry).await.map(drop)
}
