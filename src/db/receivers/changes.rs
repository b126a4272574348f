//! Changes of receivers, within the transactions of commands.

use secrecy::SecretString;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{DeliveryView, ReceiverView, column, views};
use crate::db::DbError;
use crate::domain::keyring::RowKey;
use crate::domain::labels::Labels;
use crate::domain::receiver::{ReceiverConfig, ReceiverFamily, ReceiverSettings};

/// Counts the receivers of a family. Concurrent creations wait for each other.
pub async fn count(connection: &mut PgConnection, family: ReceiverFamily) -> Result<i64, DbError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('panda receivers', 0)) AS \"locked: _\"")
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM receivers WHERE kind = ANY ($1)", &family.kinds())
        .fetch_one(connection)
        .await?)
}

/// A receiver to insert.
pub struct NewReceiver<'a> {
    /// Its id, whose prefix names the family.
    pub id: &'a str,
    /// Settings that the caller chose.
    pub config: &'a ReceiverConfig,
    /// Data key of its secrets.
    pub key: &'a RowKey,
    /// First secret; none where the kind needs none.
    pub secret: Option<&'a SecretString>,
    /// Subject of the caller.
    pub created_by: &'a str,
}

/// Inserts a receiver. It gets the events that are committed from now on: the cursor begins at the oldest running transaction, and what is committed
/// beyond it is settled, up to a thousand events.
pub async fn insert(connection: &mut PgConnection, new: NewReceiver<'_>) -> Result<(), DbError> {
    let NewReceiver { id, config, key, secret, created_by } = new;
    let encrypted = secret.map(|secret| key.encrypt(&column(1), secret)).transpose()?;
    sqlx::query!(
        "WITH made AS (INSERT INTO receivers (id, settings, description, events, repositories, labels, lang, key_id, wrapped_key, created_by,
                                             disabled_at, disabled_reason)
                       VALUES ($1, $2, $3, $4, $5, $12, $6, $7, $8, $9, CASE WHEN NOT $11::boolean THEN clock_timestamp() END,
                               CASE WHEN NOT $11::boolean THEN 'caller' END)
                       RETURNING id),
              secret AS (INSERT INTO receiver_secrets (receiver_id, number, value_encrypted) SELECT id, 1, $10 FROM made WHERE $10::bytea IS NOT NULL)
         INSERT INTO receiver_cursors (receiver_id, place, deployment_id, seq, ahead)
         SELECT made.id, horizon.place, '', 0,
                ARRAY (SELECT e.id FROM deployment_events e WHERE e.place >= horizon.place ORDER BY e.place LIMIT 1000)
         FROM made, (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift AS place FROM event_clock) AS horizon",
        id,
        Json(&config.settings) as _,
        config.description,
        config.filter.events.as_deref(),
        config.filter.repositories.sql(),
        config.lang.as_str(),
        key.key_id,
        key.wrapped,
        created_by,
        encrypted as _,
        config.enabled,
        Json(&config.filter.labels) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a receiver as it may be shown, and locks its row until the end of the transaction.
pub async fn lock(
    connection: &mut PgConnection,
    family: ReceiverFamily,
    id: &str,
) -> Result<Option<ReceiverView>, DbError> {
    sqlx::query!("SELECT id FROM receivers WHERE id = $1 FOR UPDATE", id).fetch_optional(&mut *connection).await?;
    find(connection, family, id).await
}

/// Returns a receiver as it may be shown, within the caller's transaction.
pub async fn find(
    connection: &mut PgConnection,
    family: ReceiverFamily,
    id: &str,
) -> Result<Option<ReceiverView>, DbError> {
    Ok(views!("w.id = $1 AND w.kind = ANY ($2)", id, &family.kinds()).fetch_optional(connection).await?)
}

/// Replaces the settings. A receiver that is enabled again receives the events from now on; its pending deliveries continue.
pub async fn update(connection: &mut PgConnection, id: &str, config: &ReceiverConfig) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE receiver_cursors c SET place = horizon.place, deployment_id = '', seq = 0, version = version + 1, holder = NULL,
                ahead = ARRAY (SELECT e.id FROM deployment_events e WHERE e.place >= horizon.place ORDER BY e.place LIMIT 1000)
         FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift AS place FROM event_clock) AS horizon, receivers w
         WHERE c.receiver_id = $1 AND w.id = c.receiver_id AND w.disabled_at IS NOT NULL AND $2",
        id,
        config.enabled
    )
    .execute(&mut *connection)
    .await?;
    // Deliveries that wait for the end of quiet hours, which may be others now.
    sqlx::query!(
        "UPDATE receiver_deliveries SET next_attempt_at = clock_timestamp()
         WHERE receiver_id = $1 AND state = 'pending' AND attempts = 0 AND next_attempt_at > clock_timestamp()",
        id
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE receivers SET settings = $2, description = $3, events = $4, repositories = $5, lang = $6, labels = $8, revision = revision + 1,
                disabled_at = CASE WHEN NOT $7::boolean THEN coalesce(disabled_at, clock_timestamp()) END,
                disabled_reason = CASE WHEN NOT $7::boolean THEN coalesce(disabled_reason, 'caller') END
         WHERE id = $1",
        id,
        Json(&config.settings) as _,
        config.description,
        config.filter.events.as_deref(),
        config.filter.repositories.sql(),
        config.lang.as_str(),
        config.enabled,
        Json(&config.filter.labels) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes a receiver with its secrets and deliveries; false when there is none.
pub async fn delete(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let gone = sqlx::query!("DELETE FROM receivers WHERE id = $1", id).execute(connection).await?;
    Ok(gone.rows_affected() == 1)
}

/// Stores a new secret, and ends those before it in `hours` at the latest. Expired ones are deleted.
pub async fn rotate(
    connection: &mut PgConnection,
    id: &str,
    key: &RowKey,
    secret: &SecretString,
    hours: i64,
) -> Result<(), DbError> {
    sqlx::query!("DELETE FROM receiver_secrets WHERE receiver_id = $1 AND expires_at <= clock_timestamp()", id)
        .execute(&mut *connection)
        .await?;
    let newest = sqlx::query_scalar!("SELECT max(number) FROM receiver_secrets WHERE receiver_id = $1", id)
        .fetch_one(&mut *connection)
        .await?;
    let number = newest.unwrap_or(0) + 1;
    sqlx::query!(
        "UPDATE receiver_secrets SET expires_at = least(expires_at, clock_timestamp() + $2::bigint * interval '1 hour') WHERE receiver_id = $1",
        id,
        hours
    )
    .execute(&mut *connection)
    .await?;
    let encrypted = key.encrypt(&column(number), secret)?;
    sqlx::query!(
        "WITH made AS (INSERT INTO receiver_secrets (receiver_id, number, value_encrypted) VALUES ($1, $2, $3))
         UPDATE receivers SET revision = revision + 1 WHERE id = $1",
        id,
        number,
        encrypted
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes a dead delivery due again, with a new series of attempts; none unless it is dead.
pub async fn replay(connection: &mut PgConnection, id: &str, event: Uuid) -> Result<Option<DeliveryView>, DbError> {
    let replayed = sqlx::query_as!(
        DeliveryView,
        "UPDATE receiver_deliveries SET state = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), changed_at = clock_timestamp()
         WHERE receiver_id = $1 AND event_id = $2 AND state = 'dead'
         RETURNING event_id, deployment_id, seq, state, attempts, next_attempt_at, last_status, last_error, created_at, changed_at",
        id,
        event
    )
    .fetch_optional(&mut *connection)
    .await?;
    if replayed.is_some() {
        sqlx::query!("UPDATE receivers SET revision = revision + 1 WHERE id = $1", id).execute(connection).await?;
    }
    Ok(replayed)
}

/// Returns the state of a delivery, and reports that its event still exists; none without a row.
pub async fn delivery_state(
    connection: &mut PgConnection,
    id: &str,
    event: Uuid,
) -> Result<Option<(String, bool)>, DbError> {
    let row = sqlx::query!(
        "SELECT r.state, e.id IS NOT NULL AS \"exists!\" FROM receiver_deliveries r
         LEFT JOIN deployment_events e ON e.deployment_id = r.deployment_id AND e.seq = r.seq AND e.id = r.event_id
         WHERE r.receiver_id = $1 AND r.event_id = $2",
        id,
        event
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.state, row.exists)))
}
