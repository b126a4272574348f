//! Webhooks with their secrets, and the deliveries that an admin sees.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;

use super::encryption::WEBHOOKS;
use super::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::domain::keyring::RowKey;
use crate::domain::principal::Scope;
use crate::domain::webhook::EventFilter;
use crate::domain::webhook::signing::SigningKey;

/// A webhook as it may be shown to an admin.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct WebhookView {
    pub id: String,
    pub url: String,
    pub description: Option<String>,
    pub events: Option<Vec<String>>,
    pub repositories: Option<Vec<String>>,
    pub lang: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub disabled_at: Option<DateTime<Utc>>,
    pub disabled_reason: Option<String>,
    pub delivered: i64,
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// Deliveries that are tried again, or wait behind one that is.
    pub pending: i64,
    /// Deliveries whose last attempt failed.
    pub dead: i64,
    /// Ends of the secrets that still sign after a rotation, the last one first.
    pub previous_secrets_until: Vec<DateTime<Utc>>,
}

/// Settings that a caller chooses.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Address of the receiver.
    pub url: String,
    /// Purpose in the caller's words.
    pub description: Option<String>,
    /// Events that it receives.
    pub filter: EventFilter,
    /// Language in which messages are rendered.
    pub lang: Lang,
    /// False to disable it.
    pub enabled: bool,
}

/// A webhook as its deliveries need it.
#[derive(Clone, Debug)]
pub struct DeliveryWebhook {
    /// Id of the webhook, with the prefix `whk_`.
    pub id: String,
    /// Address of the receiver.
    pub url: String,
    /// Events that it receives.
    pub filter: EventFilter,
    /// Language in which messages are rendered.
    pub lang: Lang,
    /// Secrets that sign, the newest first.
    pub keys: Vec<SigningKey>,
    /// Revision of the settings.
    pub revision: i64,
}

/// A delivery that has a row, as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct DeliveryView {
    pub event_id: Uuid,
    pub deployment_id: String,
    pub seq: i64,
    pub state: String,
    pub attempts: i32,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

/// Selects a `WebhookView` for each row that matches the condition, given in pieces, the oldest first.
macro_rules! views {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            WebhookView,
            "SELECT w.id, w.url, w.description, w.events, w.repositories, w.lang, w.created_by, w.created_at, w.disabled_at, w.disabled_reason,
                    c.delivered, c.last_delivered_at,
                    (SELECT count(*) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state IN ('pending', 'waiting')) AS \"pending!\",
                    (SELECT count(*) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state = 'dead') AS \"dead!\",
                    ARRAY (SELECT s.expires_at FROM webhook_secrets s WHERE s.webhook_id = w.id AND s.expires_at > clock_timestamp()
                           ORDER BY s.expires_at DESC) AS \"previous_secrets_until!\"
             FROM webhooks w JOIN webhook_cursors c ON c.webhook_id = w.id WHERE " + $condition + " ORDER BY w.created_at, w.id"
            $(, $argument)*
        )
    };
}

/// Column of a secret in its encryption context (AAD), so that values cannot be exchanged within the database.
pub(super) fn column(number: i32) -> String {
    format!("secret:{number}")
}

impl Db {
    /// Creates the data key of a new webhook. Called before its transaction, because it may call a key service.
    pub async fn webhook_row_key(&self, id: &str) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(WEBHOOKS, id).await?)
    }

    /// Returns the data key of a webhook; none when it does not exist.
    pub async fn stored_webhook_key(&self, id: &str) -> Result<Option<RowKey>, DbError> {
        let row = sqlx::query!("SELECT key_id, wrapped_key FROM webhooks WHERE id = $1", id);
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some(self.keyring()?.row_key(WEBHOOKS, id, &row.key_id, &row.wrapped_key).await?))
    }

    /// Lists all webhooks, the oldest first.
    pub async fn webhooks(&self) -> Result<Vec<WebhookView>, DbError> {
        Ok(views!("true").fetch_all(&self.pool).await?)
    }

    /// Returns a webhook as it may be shown.
    pub async fn webhook(&self, id: &str) -> Result<Option<WebhookView>, DbError> {
        Ok(views!("w.id = $1", id).fetch_optional(&self.pool).await?)
    }

    /// Returns a webhook with its decrypted secrets, for deliveries.
    pub async fn delivery_webhook(&self, id: &str) -> Result<Option<DeliveryWebhook>, DbError> {
        // First: a rotation after this statement is seen as another revision.
        let row = sqlx::query!(
            "SELECT url, events, repositories, lang, key_id, wrapped_key, revision FROM webhooks WHERE id = $1",
            id
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let secrets = sqlx::query!(
            "SELECT number, value_encrypted, expires_at FROM webhook_secrets
             WHERE webhook_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY number DESC",
            id
        )
        .fetch_all(&self.pool)
        .await?;
        let key = self.keyring()?.row_key(WEBHOOKS, id, &row.key_id, &row.wrapped_key).await?;
        let mut keys = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let value = key.decrypt(&column(secret.number), &secret.value_encrypted)?;
            let malformed = || DbError::corrupt(format!("secret {} of webhook {id} is malformed", secret.number));
            keys.push(SigningKey::new(&value, secret.expires_at).ok_or_else(malformed)?);
        }
        let filter = EventFilter { events: row.events, repositories: Scope::from_sql(row.repositories) };
        let lang = row.lang.parse().map_err(|_| DbError::corrupt(format!("language of webhook {id}")))?;
        Ok(Some(DeliveryWebhook { id: id.to_owned(), url: row.url, filter, lang, keys, revision: row.revision }))
    }

    /// Lists the deliveries of a webhook that have a row, newest first: all, or those in these states.
    pub async fn webhook_deliveries(
        &self,
        id: &str,
        states: Option<&[String]>,
        before: Option<(DateTime<Utc>, Uuid)>,
        limit: i64,
    ) -> Result<Vec<DeliveryView>, DbError> {
        let (before_at, before_id) = before.unzip();
        Ok(sqlx::query_as!(
            DeliveryView,
            "SELECT event_id, deployment_id, seq, state, attempts, next_attempt_at, last_status, last_error, created_at, changed_at
             FROM webhook_deliveries
             WHERE webhook_id = $1 AND ($2::text[] IS NULL OR state = ANY ($2))
               AND ($3::timestamptz IS NULL OR (created_at, event_id) < ($3, $4))
             ORDER BY created_at DESC, event_id DESC LIMIT $5",
            id,
            states,
            before_at,
            before_id,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Counts the webhooks. Concurrent creations wait for each other.
pub async fn count(connection: &mut PgConnection) -> Result<i64, DbError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('panda webhooks', 0)) AS \"locked: _\"")
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar!("SELECT count(*) AS \"count!\" FROM webhooks").fetch_one(connection).await?)
}

/// Inserts a webhook with its first secret. It receives the events that are committed from now on: the cursor begins at the oldest running transaction, and
/// what is committed beyond it is settled, up to a thousand events.
pub async fn insert(
    connection: &mut PgConnection,
    id: &str,
    settings: &WebhookSettings,
    key: &RowKey,
    secret: &SecretString,
    created_by: &str,
) -> Result<(), DbError> {
    let encrypted = key.encrypt(&column(1), secret)?;
    sqlx::query!(
        "WITH made AS (INSERT INTO webhooks (id, url, description, events, repositories, lang, key_id, wrapped_key, created_by,
                                             disabled_at, disabled_reason)
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN NOT $11::boolean THEN clock_timestamp() END,
                               CASE WHEN NOT $11::boolean THEN 'caller' END)
                       RETURNING id),
              secret AS (INSERT INTO webhook_secrets (webhook_id, number, value_encrypted) SELECT id, 1, $10 FROM made)
         INSERT INTO webhook_cursors (webhook_id, place, deployment_id, seq, ahead)
         SELECT made.id, horizon.place, '', 0,
                ARRAY (SELECT e.id FROM deployment_events e WHERE e.place >= horizon.place ORDER BY e.place LIMIT 1000)
         FROM made, (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift AS place FROM event_clock) AS horizon",
        id,
        settings.url,
        settings.description,
        settings.filter.events.as_deref(),
        settings.filter.repositories.sql(),
        settings.lang.as_str(),
        key.key_id,
        key.wrapped,
        created_by,
        encrypted,
        settings.enabled
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a webhook as it may be shown, and locks its row until the end of the transaction.
pub async fn lock(connection: &mut PgConnection, id: &str) -> Result<Option<WebhookView>, DbError> {
    sqlx::query!("SELECT id FROM webhooks WHERE id = $1 FOR UPDATE", id).fetch_optional(&mut *connection).await?;
    find(connection, id).await
}

/// Returns a webhook as it may be shown, within the caller's transaction.
pub async fn find(connection: &mut PgConnection, id: &str) -> Result<Option<WebhookView>, DbError> {
    Ok(views!("w.id = $1", id).fetch_optional(connection).await?)
}

/// Replaces the settings. A webhook that is enabled again receives the events from now on; its pending deliveries continue.
pub async fn update(connection: &mut PgConnection, id: &str, settings: &WebhookSettings) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE webhook_cursors c SET place = horizon.place, deployment_id = '', seq = 0, version = version + 1, holder = NULL,
                ahead = ARRAY (SELECT e.id FROM deployment_events e WHERE e.place >= horizon.place ORDER BY e.place LIMIT 1000)
         FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + shift AS place FROM event_clock) AS horizon, webhooks w
         WHERE c.webhook_id = $1 AND w.id = c.webhook_id AND w.disabled_at IS NOT NULL AND $2",
        id,
        settings.enabled
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE webhooks SET url = $2, description = $3, events = $4, repositories = $5, lang = $6, revision = revision + 1,
                disabled_at = CASE WHEN NOT $7::boolean THEN coalesce(disabled_at, clock_timestamp()) END,
                disabled_reason = CASE WHEN NOT $7::boolean THEN coalesce(disabled_reason, 'caller') END
         WHERE id = $1",
        id,
        settings.url,
        settings.description,
        settings.filter.events.as_deref(),
        settings.filter.repositories.sql(),
        settings.lang.as_str(),
        settings.enabled
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes a webhook with its secrets and deliveries; false when there is none.
pub async fn delete(connection: &mut PgConnection, id: &str) -> Result<bool, DbError> {
    let gone = sqlx::query!("DELETE FROM webhooks WHERE id = $1", id).execute(connection).await?;
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
    sqlx::query!("DELETE FROM webhook_secrets WHERE webhook_id = $1 AND expires_at <= clock_timestamp()", id)
        .execute(&mut *connection)
        .await?;
    let newest = sqlx::query_scalar!("SELECT max(number) FROM webhook_secrets WHERE webhook_id = $1", id)
        .fetch_one(&mut *connection)
        .await?;
    let number = newest.unwrap_or(0) + 1;
    sqlx::query!(
        "UPDATE webhook_secrets SET expires_at = least(expires_at, clock_timestamp() + $2::bigint * interval '1 hour') WHERE webhook_id = $1",
        id,
        hours
    )
    .execute(&mut *connection)
    .await?;
    let encrypted = key.encrypt(&column(number), secret)?;
    sqlx::query!(
        "WITH made AS (INSERT INTO webhook_secrets (webhook_id, number, value_encrypted) VALUES ($1, $2, $3))
         UPDATE webhooks SET revision = revision + 1 WHERE id = $1",
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
        "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), changed_at = clock_timestamp()
         WHERE webhook_id = $1 AND event_id = $2 AND state = 'dead'
         RETURNING event_id, deployment_id, seq, state, attempts, next_attempt_at, last_status, last_error, created_at, changed_at",
        id,
        event
    )
    .fetch_optional(&mut *connection)
    .await?;
    if replayed.is_some() {
        sqlx::query!("UPDATE webhooks SET revision = revision + 1 WHERE id = $1", id).execute(connection).await?;
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
        "SELECT r.state, e.id IS NOT NULL AS \"exists!\" FROM webhook_deliveries r
         LEFT JOIN deployment_events e ON e.deployment_id = r.deployment_id AND e.seq = r.seq AND e.id = r.event_id
         WHERE r.webhook_id = $1 AND r.event_id = $2",
        id,
        event
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.state, row.exists)))
}
