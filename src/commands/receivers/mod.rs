//! Receivers of events: an admin of the repositories whose events one gets creates, changes and deletes it, rotates its secret, and replays deliveries
//! that failed. `background/outbox` delivers.

pub mod error;
pub mod probe;

use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use self::error::ReceiverError;
use super::access::require_role;
use super::error::CommandError;
use super::idempotency::{Idempotent, KeyedTransaction};
use crate::db::audit::{self, AuditRecord};
use crate::db::idempotency::IdempotencyKey;
use crate::db::receivers::changes::{self, NewReceiver};
use crate::db::receivers::{DeliveryView, ReceiverView};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::audit::Action;
use crate::domain::message::{Message, message};
use crate::domain::principal::{Caller, Role, Scope};
use crate::domain::receiver::{ReceiverConfig, ReceiverFamily};
use crate::domain::webhook::MAX_SECRETS;

/// Creates a receiver with its first secret, and stores `answer` (made from it, and without the secret) under the key.
///
/// # Errors
/// The caller is not an admin of the repositories, or there are too many receivers.
pub async fn create(
    db: &Db,
    config: &ReceiverConfig,
    secret: Option<&SecretString>,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(ReceiverView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_admin_of(by, &config.filter.repositories)?;
    let family = config.settings.kind().family();
    let id = family.new_id();
    // Before the transaction, because a key service may be called.
    let row_key = db.receiver_row_key(&id).await?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    if changes::count(&mut tx, family).await? >= family.max() {
        return Err(ReceiverError::too_many(family).into());
    }
    let new = NewReceiver { id: &id, config, key: &row_key, secret, created_by: &by.principal.subject };
    changes::insert(&mut tx, new).await?;
    record(&mut tx, by, actions(family).create, &id, details(config)).await?;
    let made = changes::find(&mut tx, family, &id).await?;
    let missing = || DbError::Corrupt(format!("receiver {id} is missing right after its insert"));
    let answer = answer(made.ok_or_else(missing)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Lists the receivers of a family of which the caller is an admin.
///
/// # Errors
/// The caller is no admin.
pub async fn list(db: &Db, family: ReceiverFamily, by: &Caller) -> Result<Vec<ReceiverView>, CommandError> {
    require_role(by, Role::Admin)?;
    let mut all = db.receivers(family).await?;
    all.retain(|receiver| is_visible(receiver, by));
    Ok(all)
}

/// Returns a receiver of which the caller is an admin.
///
/// # Errors
/// The caller is no admin, or its scope has no such receiver.
pub async fn show(db: &Db, (family, id): (ReceiverFamily, &str), by: &Caller) -> Result<ReceiverView, CommandError> {
    require_role(by, Role::Admin)?;
    visible(db.receiver(family, id).await?, (family, id), by)
}

/// Replaces the settings of a receiver. One that is enabled again receives the events from now on.
///
/// # Errors
/// The caller is not an admin of the repositories before and after the change, or there is no such receiver.
pub async fn change(db: &Db, id: &str, config: &ReceiverConfig, by: &Caller) -> Result<ReceiverView, CommandError> {
    require_role(by, Role::Admin)?;
    let family = config.settings.kind().family();
    let mut tx = db.begin().await?;
    visible(changes::lock(&mut tx, family, id).await?, (family, id), by)?;
    require_admin_of(by, &config.filter.repositories)?;
    changes::update(&mut tx, id, config).await?;
    record(&mut tx, by, actions(family).change, id, details(config)).await?;
    let changed = changes::find(&mut tx, family, id).await?;
    tx.commit().await?;
    visible(changed, (family, id), by)
}

/// Replaces the settings of a channel, and its secret where one is given.
///
/// # Errors
/// As [`change`]; the kind differs; or the stored secret would be sent elsewhere.
pub async fn change_channel(
    db: &Db,
    id: &str,
    config: &ReceiverConfig,
    secret: Option<&SecretString>,
    by: &Caller,
) -> Result<ReceiverView, CommandError> {
    require_role(by, Role::Admin)?;
    let family = ReceiverFamily::Channels;
    let not_found = || ReceiverError::not_found(family, id);
    let row_key = db.stored_receiver_key(id).await?.ok_or_else(not_found)?;
    let mut tx = db.begin().await?;
    let before = visible(changes::lock(&mut tx, family, id).await?, (family, id), by)?;
    require_admin_of(by, &config.filter.repositories)?;
    let (old, new) = (&before.settings.0, &config.settings);
    if old.kind() != new.kind() {
        return Err(ReceiverError::KindFixed(old.kind().as_str()).into());
    }
    match secret {
        Some(secret) => changes::rotate(&mut tx, id, &row_key, secret, 0).await?,
        None if new.secret_goes_to().is_some() && old.secret_goes_to() != new.secret_goes_to() => {
            return Err(ReceiverError::SecretNeeded.into());
        }
        None => {}
    }
    changes::update(&mut tx, id, config).await?;
    let details = json!({"secret": secret.is_some(), "settings": details(config)});
    record(&mut tx, by, actions(family).change, id, details).await?;
    let changed = changes::find(&mut tx, family, id).await?;
    tx.commit().await?;
    visible(changed, (family, id), by)
}

/// Deletes a receiver with its secrets and deliveries, and returns it as it was.
///
/// # Errors
/// The caller is no admin, or its scope has no such receiver.
pub async fn delete(db: &Db, (family, id): (ReceiverFamily, &str), by: &Caller) -> Result<ReceiverView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    let found = visible(changes::lock(&mut tx, family, id).await?, (family, id), by)?;
    changes::delete(&mut tx, id).await?;
    record(&mut tx, by, actions(family).delete, id, json!({})).await?;
    tx.commit().await?;
    Ok(found)
}

/// Adds a secret. Those before it sign for `hours` more, so that the receiver can accept both meanwhile.
///
/// # Errors
/// The caller is no admin, its scope has no such receiver, or too many secrets are valid already.
pub async fn rotate(
    db: &Db,
    id: &str,
    (secret, hours): (&SecretString, i64),
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl FnOnce(ReceiverView) -> Value,
) -> Result<Idempotent<Value>, CommandError> {
    require_role(by, Role::Admin)?;
    let family = ReceiverFamily::Webhooks;
    let not_found = || ReceiverError::not_found(family, id);
    let row_key = db.stored_receiver_key(id).await?.ok_or_else(not_found)?;
    let mut tx = KeyedTransaction::begin(db, key).await?;
    if let Some(answer) = tx.repeated().await? {
        return Ok(Idempotent::Replayed(answer));
    }
    let found = visible(changes::lock(&mut tx, family, id).await?, (family, id), by)?;
    let valid = i64::try_from(found.previous_secrets_until.len()).unwrap_or(MAX_SECRETS) + 1;
    if valid >= MAX_SECRETS && hours > 0 {
        return Err(ReceiverError::TooManySecrets(id.to_owned()).into());
    }
    changes::rotate(&mut tx, id, &row_key, secret, hours).await?;
    record(&mut tx, by, Action::RotateWebhook, id, json!({"hours": hours})).await?;
    let answer = answer(changes::find(&mut tx, family, id).await?.ok_or_else(not_found)?);
    tx.commit(&answer).await?;
    Ok(Idempotent::Fresh(answer))
}

/// Makes a dead delivery due again.
///
/// # Errors
/// The caller is no admin, there is no such receiver or delivery, it is not dead, or its event was removed.
pub async fn replay(
    db: &Db,
    (family, id): (ReceiverFamily, &str),
    delivery: &str,
    by: &Caller,
) -> Result<DeliveryView, CommandError> {
    require_role(by, Role::Admin)?;
    let mut tx = db.begin().await?;
    visible(changes::lock(&mut tx, family, id).await?, (family, id), by)?;
    let not_found = || ReceiverError::DeliveryNotFound(delivery.to_owned());
    let event: Uuid = delivery.parse().map_err(|_| not_found())?;
    match changes::delivery_state(&mut tx, id, event).await?.ok_or_else(not_found)? {
        (state, _) if state != "dead" => return Err(ReceiverError::DeliveryNotDead(state).into()),
        (_, false) => return Err(ReceiverError::EventRemoved(delivery.to_owned()).into()),
        _ => {}
    }
    let replayed = changes::replay(&mut tx, id, event).await?.ok_or_else(not_found)?;
    record(&mut tx, by, actions(family).replay, id, json!({"delivery": delivery})).await?;
    tx.commit().await?;
    Ok(replayed)
}

/// Requires an admin whose scope has all repositories of a receiver.
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

fn is_visible(receiver: &ReceiverView, by: &Caller) -> bool {
    by.scope().includes(&Scope::from_sql(receiver.repositories.clone()))
}

fn visible(
    receiver: Option<ReceiverView>,
    (family, id): (ReceiverFamily, &str),
    by: &Caller,
) -> Result<ReceiverView, CommandError> {
    receiver.filter(|receiver| is_visible(receiver, by)).ok_or_else(|| ReceiverError::not_found(family, id).into())
}

/// The actions of a family as the audit log names them.
struct Actions {
    create: Action,
    change: Action,
    delete: Action,
    test: Action,
    replay: Action,
}

fn actions(family: ReceiverFamily) -> Actions {
    match family {
        ReceiverFamily::Webhooks => Actions {
            create: Action::CreateWebhook,
            change: Action::ChangeWebhook,
            delete: Action::DeleteWebhook,
            test: Action::TestWebhook,
            replay: Action::ReplayDelivery,
        },
        ReceiverFamily::Channels => Actions {
            create: Action::CreateChannel,
            change: Action::ChangeChannel,
            delete: Action::DeleteChannel,
            test: Action::TestChannel,
            replay: Action::ReplayChannelDelivery,
        },
    }
}

/// The settings as the audit log shows them: without the address, which may authenticate.
fn details(config: &ReceiverConfig) -> Value {
    json!({
        "events": config.filter.events, "repositories": config.filter.repositories.sql(), "labels": config.filter.labels, "enabled": config.enabled,
        "language": config.lang.as_str(),
    })
}

async fn record(tx: &mut PgConnection, by: &Caller, action: Action, id: &str, details: Value) -> Result<(), DbError> {
    let entry = AuditRecord { by, action, target: Some(id), repository: None, refused: None, details };
    audit::record(tx, &entry).await.map(drop)
}
