//! Receivers of events: their settings and secrets, and deliveries as they are shown. `db/outbox` has what is delivered.

pub mod changes;
pub mod failures;
mod projection;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::encryption::RECEIVERS;
use super::{Db, DbError};
use crate::domain::keyring::RowKey;
use crate::domain::labels::Labels;
use crate::domain::principal::Scope;
use crate::domain::receiver::filter::EventFilter;
use crate::domain::receiver::{DeliveryReceiver, ReceiverFamily, ReceiverKind, ReceiverSecrets, ReceiverSettings};
use crate::domain::webhook::signing::SigningKey;

/// A receiver as it may be shown to an admin.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct ReceiverView {
    pub id: String,
    pub settings: Json<ReceiverSettings>,
    pub description: Option<String>,
    pub events: Option<Vec<String>>,
    pub repositories: Option<Vec<String>>,
    pub labels: Json<Labels>,
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

/// Selects a `ReceiverView` for each row that matches the condition, given in pieces, the oldest first.
macro_rules! views {
    ($condition:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            ReceiverView,
            "SELECT w.id, w.settings AS \"settings: Json<ReceiverSettings>\", w.description, w.events, w.repositories, w.labels AS \"labels: Json<Labels>\", w.lang, w.created_by, w.created_at, w.disabled_at, w.disabled_reason,
                    c.delivered, c.last_delivered_at,
                    (SELECT count(*) FROM receiver_deliveries d WHERE d.receiver_id = w.id AND d.state IN ('pending', 'waiting')) AS \"pending!\",
                    (SELECT count(*) FROM receiver_deliveries d WHERE d.receiver_id = w.id AND d.state = 'dead') AS \"dead!\",
                    ARRAY (SELECT s.expires_at FROM receiver_secrets s WHERE s.receiver_id = w.id AND s.expires_at > clock_timestamp()
                           ORDER BY s.expires_at DESC) AS \"previous_secrets_until!\"
             FROM receivers w JOIN receiver_cursors c ON c.receiver_id = w.id WHERE " + $condition + " ORDER BY w.created_at, w.id"
            $(, $argument)*
        )
    };
}

/// Column of a secret in its encryption context (AAD), so that values cannot be exchanged within the database.
pub(in crate::db) fn column(number: i32) -> String {
    format!("secret:{number}")
}

impl Db {
    /// Creates the data key of a new receiver. Called before its transaction, because it may call a key service.
    pub async fn receiver_row_key(&self, id: &str) -> Result<RowKey, DbError> {
        Ok(self.keyring()?.new_row_key(RECEIVERS, id).await?)
    }

    /// Returns the data key of a receiver; none when it does not exist.
    pub async fn stored_receiver_key(&self, id: &str) -> Result<Option<RowKey>, DbError> {
        let row = sqlx::query!("SELECT key_id, wrapped_key FROM receivers WHERE id = $1", id);
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some(self.keyring()?.row_key(RECEIVERS, id, &row.key_id, &row.wrapped_key).await?))
    }

    /// Lists the receivers of a family, the oldest first.
    pub async fn receivers(&self, family: ReceiverFamily) -> Result<Vec<ReceiverView>, DbError> {
        Ok(views!("w.kind = ANY ($1)", &family.kinds()).fetch_all(&self.pool).await?)
    }

    /// Returns a receiver of a family as it may be shown.
    pub async fn receiver(&self, family: ReceiverFamily, id: &str) -> Result<Option<ReceiverView>, DbError> {
        Ok(views!("w.id = $1 AND w.kind = ANY ($2)", id, &family.kinds()).fetch_optional(&self.pool).await?)
    }

    /// Returns a receiver with its decrypted secrets, for deliveries.
    pub async fn delivery_receiver(&self, id: &str) -> Result<Option<DeliveryReceiver>, DbError> {
        // First: a rotation after this statement is seen as another revision.
        let row = sqlx::query!(
            "SELECT settings AS \"settings: Json<ReceiverSettings>\", events, repositories, labels AS \"labels: Json<Labels>\", lang, key_id, wrapped_key, revision
             FROM receivers WHERE id = $1",
            id
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let secrets = sqlx::query!(
            "SELECT number, value_encrypted, expires_at FROM receiver_secrets
             WHERE receiver_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY number DESC",
            id
        )
        .fetch_all(&self.pool)
        .await?;
        let key = self.keyring()?.row_key(RECEIVERS, id, &row.key_id, &row.wrapped_key).await?;
        let settings = row.settings.0;
        let mut values = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let value = key.decrypt(&column(secret.number), &secret.value_encrypted)?;
            values.push((secret.number, value, secret.expires_at));
        }
        let credentials = if settings.kind() == ReceiverKind::Webhook {
            let malformed = |number| DbError::corrupt(format!("secret {number} of receiver {id} is malformed"));
            let keys = values.into_iter().map(|(number, value, expires_at)| {
                SigningKey::new(&value, expires_at).ok_or_else(|| malformed(number))
            });
            ReceiverSecrets::Signing(keys.collect::<Result<_, _>>()?)
        } else {
            ReceiverSecrets::Secret(values.into_iter().next().map(|(_, value, _)| value))
        };
        let filter =
            EventFilter { events: row.events, repositories: Scope::from_sql(row.repositories), labels: row.labels.0 };
        let lang = row.lang.parse().map_err(|_| DbError::corrupt(format!("language of receiver {id}")))?;
        Ok(Some(DeliveryReceiver { id: id.to_owned(), settings, filter, lang, credentials, revision: row.revision }))
    }

    /// Lists the deliveries of a receiver that have a row, newest first: all, or those in these states.
    pub async fn receiver_deliveries(
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
             FROM receiver_deliveries
             WHERE receiver_id = $1 AND ($2::text[] IS NULL OR state = ANY ($2))
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

pub(crate) use views;
