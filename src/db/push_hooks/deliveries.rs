//! Deliveries that push hooks received, with their decisions.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{Db, DbError};
use crate::domain::push_hook::facts::PushFacts;
use crate::domain::push_hook::reason::PushReason;

/// A received delivery as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct PushDeliveryView {
    pub id: Uuid,
    pub delivery_id: Uuid,
    pub verified: bool,
    pub event: String,
    pub repository: Option<String>,
    pub ref_name: Option<String>,
    pub commit_id: Option<String>,
    pub received_at: DateTime<Utc>,
    pub decided_at: DateTime<Utc>,
    pub decision: String,
    pub reason_code: String,
    pub reason_text: serde_json::Value,
    pub deployment_id: Option<String>,
    pub attempts: i32,
}

/// A verified delivery, as its decision needs it.
#[derive(Clone, Debug)]
pub struct PushDelivery {
    /// Id of the header `X-GitHub-Delivery`.
    pub id: Uuid,
    /// Name of the header `X-GitHub-Event`.
    pub event: String,
    /// Members of its payload.
    pub facts: PushFacts,
}

/// Decision on a delivery, as its row stores it.
#[derive(Clone, Debug)]
pub struct StoredDecision<'a> {
    /// Reason, with which the decision is given.
    pub reason: &'a PushReason,
    /// The deployment that was started.
    pub deployment: Option<&'a str>,
}

/// The newest delivery of a push hook, for lists.
#[derive(Clone, Debug)]
pub struct NewestPush {
    /// Id of the push hook that received it.
    pub hook_id: String,
    /// Time at which it was first received.
    pub received_at: DateTime<Utc>,
    /// `started`, `ignored` or `rejected`.
    pub decision: String,
    /// Reason of the decision, for programs.
    pub reason_code: String,
}

/// Selects a `PushDeliveryView` for each row that matches the condition.
macro_rules! views {
    ($rest:literal $(, $argument:expr)*) => {
        sqlx::query_as!(
            PushDeliveryView,
            "SELECT id, delivery_id, verified, event, repository, ref AS \"ref_name\", commit_id, received_at, decided_at, decision,
                    reason_code, reason_text, deployment_id, attempts
             FROM push_deliveries WHERE " + $rest
            $(, $argument)*
        )
    };
}

impl Db {
    /// Lists the deliveries of a push hook, newest first: all, or those with this decision.
    pub async fn push_deliveries(
        &self,
        hook: &str,
        decision: Option<&str>,
        before: Option<(DateTime<Utc>, Uuid)>,
        limit: i64,
    ) -> Result<Vec<PushDeliveryView>, DbError> {
        let (before_at, before_id) = before.unzip();
        let rows = views!(
            "hook_id = $1 AND ($2::text IS NULL OR decision = $2)
               AND ($3::timestamptz IS NULL OR (received_at, id) < ($3, $4)) ORDER BY received_at DESC, id DESC LIMIT $5",
            hook,
            decision,
            before_at,
            before_id,
            limit
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// Returns the newest delivery of each of these push hooks that has one.
    pub async fn newest_pushes(&self, hooks: &[String]) -> Result<Vec<NewestPush>, DbError> {
        let rows = sqlx::query_as!(
            NewestPush,
            "SELECT h.id AS \"hook_id!\", d.received_at, d.decision, d.reason_code
             FROM unnest($1::text[]) AS h (id) CROSS JOIN LATERAL (
                 SELECT received_at, decision, reason_code FROM push_deliveries
                 WHERE hook_id = h.id ORDER BY received_at DESC, id DESC LIMIT 1) d",
            hooks
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// Records a request without a valid signature. Beyond `most` rows within an hour, the newest of them counts it.
    pub async fn record_unverified_push(&self, hook: &str, id: Uuid, event: &str, most: i64) -> Result<(), DbError> {
        let reason = PushReason::SignatureInvalid;
        sqlx::query!(
            "WITH recent AS (
                 SELECT id, received_at FROM push_deliveries
                 WHERE hook_id = $1 AND NOT verified AND received_at > clock_timestamp() - interval '1 hour'
                 ORDER BY received_at DESC, id DESC LIMIT $7
             ), counted AS (
                 UPDATE push_deliveries SET attempts = attempts + 1, decided_at = clock_timestamp()
                 WHERE id = (SELECT id FROM recent ORDER BY received_at DESC, id DESC LIMIT 1) AND (SELECT count(*) FROM recent) >= $7
                 RETURNING id
             )
             INSERT INTO push_deliveries (hook_id, delivery_id, verified, event, decision, reason_code, reason_text)
             SELECT h.id, $2, false, $3, $4, $5, $6 FROM push_hooks h
             WHERE h.id = $1 AND h.deleted_at IS NULL AND (SELECT count(*) FROM recent) < $7",
            hook,
            id,
            event,
            reason.decision().as_str(),
            reason.code(),
            reason.message().to_json(),
            most
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Deletes up to `limit` deliveries that were received more than 30 days ago.
    pub async fn delete_old_push_deliveries(&self, limit: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM push_deliveries WHERE id IN (
                 SELECT id FROM push_deliveries WHERE received_at < clock_timestamp() - interval '30 days' ORDER BY received_at LIMIT $1)",
            limit
        );
        Ok(deleted.execute(&self.pool).await?.rows_affected())
    }
}

/// Makes deliveries of the same hook and ref wait for each other, those that are repeated among them, until the end of the transaction.
pub async fn lock_ref(connection: &mut PgConnection, hook: &str, facts: &PushFacts) -> Result<(), DbError> {
    let ref_name = facts.push.as_ref().map(|push| push.ref_name.as_str());
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'push', $1::text, lower($2), $3::text), 0)) AS \"locked: _\"",
        hook,
        facts.repository,
        ref_name
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the row of a verified delivery.
pub async fn find(
    connection: &mut PgConnection,
    hook: &str,
    delivery: Uuid,
) -> Result<Option<PushDeliveryView>, DbError> {
    Ok(views!("hook_id = $1 AND delivery_id = $2 AND verified", hook, delivery).fetch_optional(connection).await?)
}

/// Returns what the decision on a verified delivery was made from.
pub async fn facts(connection: &mut PgConnection, hook: &str, delivery: Uuid) -> Result<Option<PushFacts>, DbError> {
    let row = sqlx::query_scalar!(
        "SELECT facts AS \"facts: Json<PushFacts>\" FROM push_deliveries WHERE hook_id = $1 AND delivery_id = $2 AND verified",
        hook,
        delivery
    );
    Ok(row.fetch_optional(connection).await?.map(|facts| facts.0))
}

/// Returns the commit of a push to the same ref that is newer and started a deployment.
pub async fn newer_start(
    connection: &mut PgConnection,
    hook: &str,
    delivery: &PushDelivery,
) -> Result<Option<String>, DbError> {
    let Some(push) = &delivery.facts.push else { return Ok(None) };
    let newer = sqlx::query_scalar!(
        "SELECT commit_id AS \"commit!\" FROM push_deliveries
         WHERE hook_id = $1 AND repository = lower($2) AND ref = $3 AND verified AND decision = 'started' AND delivery_id <> $4
           AND (pushed_at > $5 OR previous_id = $6) AND commit_id <> $6
         ORDER BY pushed_at DESC NULLS LAST, received_at DESC LIMIT 1",
        hook,
        delivery.facts.repository,
        push.ref_name,
        delivery.id,
        push.pushed_at,
        push.commit
    );
    Ok(newer.fetch_optional(connection).await?)
}

/// Inserts a verified delivery with its decision.
pub async fn insert(
    connection: &mut PgConnection,
    hook: &str,
    delivery: &PushDelivery,
    decision: &StoredDecision<'_>,
) -> Result<(), DbError> {
    let push = delivery.facts.push.as_ref();
    let reason = decision.reason;
    sqlx::query!(
        "INSERT INTO push_deliveries (hook_id, delivery_id, verified, event, facts, repository, ref, commit_id, previous_id, pushed_at,
                                      decision, reason_code, reason_text, deployment_id)
         VALUES ($1, $2, true, $3, $4, lower($5), $6, $7, $8, $9, $10, $11, $12, $13)",
        hook,
        delivery.id,
        delivery.event,
        Json(&delivery.facts) as _,
        delivery.facts.repository,
        push.map(|push| push.ref_name.as_str()),
        push.and_then(|push| push.commit.as_deref()),
        push.and_then(|push| push.before.as_deref()),
        push.and_then(|push| push.pushed_at),
        reason.decision().as_str(),
        reason.code(),
        reason.message().to_json(),
        decision.deployment
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the decision on a verified delivery.
pub async fn decide_again(
    connection: &mut PgConnection,
    hook: &str,
    delivery: Uuid,
    decision: &StoredDecision<'_>,
) -> Result<(), DbError> {
    let reason = decision.reason;
    sqlx::query!(
        "UPDATE push_deliveries SET decision = $3, reason_code = $4, reason_text = $5, deployment_id = $6, attempts = attempts + 1,
                decided_at = clock_timestamp()
         WHERE hook_id = $1 AND delivery_id = $2 AND verified",
        hook,
        delivery,
        reason.decision().as_str(),
        reason.code(),
        reason.message().to_json(),
        decision.deployment
    )
    .execute(connection)
    .await?;
    Ok(())
}
