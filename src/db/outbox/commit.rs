//! Progress of receivers, committed by the process that holds them.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::DeliveryState;
use crate::db::feed::FeedKey;
use crate::db::{Db, DbError};

/// Progress of one receiver, committed as a whole.
#[derive(Clone, Debug)]
pub struct OutboxCommit {
    /// Id of the receiver.
    pub receiver: String,
    /// Version that the sender read; the commit increments it.
    pub version: i64,
    /// Each event up to here is settled.
    pub cursor: FeedKey,
    /// Ids of settled events after the cursor.
    pub ahead: Vec<Uuid>,
    /// Number of events that the receiver accepted since the last commit.
    pub delivered: i64,
    /// New and changed rows of deliveries.
    pub rows: Vec<DeliveryChange>,
    /// Deployments whose next waiting delivery is due.
    pub released: Vec<String>,
    /// All pending deliveries are due: the receiver answers again.
    pub recovered: bool,
    /// The receiver wants no event any more.
    pub gone: bool,
    /// Deployments of which it shows more.
    pub shown: Vec<ShownDeployment>,
}

/// A deployment as a receiver shows it.
#[derive(Clone, Debug)]
pub struct ShownDeployment {
    /// Id of the deployment.
    pub deployment: String,
    /// Sequence number of the newest event that it shows; none where the attempt failed, and only ids became known.
    pub seq: Option<i64>,
    /// Ids that the receiver gave; none leaves those that are stored.
    pub reference: Option<Value>,
}

/// The new state of a delivery's row.
#[derive(Clone, Debug)]
pub struct DeliveryChange {
    /// Id of the event, which is the delivery's.
    pub event_id: Uuid,
    /// The event's key in the order of all events.
    pub key: FeedKey,
    /// State after the commit.
    pub state: DeliveryState,
    /// Failed attempts since the last replay.
    pub attempts: i32,
    /// Wait until the next attempt; only for a pending one.
    pub wait: Option<Duration>,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Reason of the last failure.
    pub error: Option<String>,
}

impl Db {
    /// Commits progress of several receivers. Returns those that this sender still holds; nothing of the others is changed. The call may be repeated
    /// after an error: what was committed is recognised by its version and cursor.
    pub async fn commit_outbox(&self, sender: Uuid, commits: &[OutboxCommit]) -> Result<Vec<String>, DbError> {
        let plain = commits.iter().all(|one| {
            one.rows.is_empty() && one.released.is_empty() && one.shown.is_empty() && !one.gone && !one.recovered
        });
        if plain {
            return advance(&mut *self.pool.acquire().await?, sender, commits).await;
        }
        let mut tx = self.pool.begin().await?;
        let held = advance(&mut tx, sender, commits).await?;
        let mine = || commits.iter().filter(|one| held.contains(&one.receiver));
        store_rows(&mut tx, mine()).await?;
        store_shown(&mut tx, mine()).await?;
        release_waiting(&mut tx, mine()).await?;
        let recovered: Vec<String> = mine().filter(|one| one.recovered).map(|one| one.receiver.clone()).collect();
        if !recovered.is_empty() {
            sqlx::query!(
                "UPDATE receiver_deliveries SET next_attempt_at = clock_timestamp()
                 WHERE receiver_id = ANY ($1) AND state = 'pending' AND next_attempt_at > clock_timestamp()",
                &recovered
            )
            .execute(&mut *tx)
            .await?;
        }
        let gone: Vec<String> = mine().filter(|one| one.gone).map(|one| one.receiver.clone()).collect();
        if !gone.is_empty() {
            sqlx::query!(
                "UPDATE receivers SET disabled_at = clock_timestamp(), disabled_reason = 'gone', revision = revision + 1
                 WHERE id = ANY ($1) AND disabled_at IS NULL",
                &gone
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(held)
    }
}

/// Moves the cursors. A repetition of a commit that had succeeded changes nothing, and returns the receiver too.
async fn advance(
    connection: &mut sqlx::PgConnection,
    sender: Uuid,
    commits: &[OutboxCommit],
) -> Result<Vec<String>, DbError> {
    let receivers: Vec<String> = commits.iter().map(|one| one.receiver.clone()).collect();
    let versions: Vec<i64> = commits.iter().map(|one| one.version).collect();
    let places: Vec<i64> = commits.iter().map(|one| one.cursor.transaction).collect();
    let deployments: Vec<String> = commits.iter().map(|one| one.cursor.deployment_id.clone()).collect();
    let seqs: Vec<i64> = commits.iter().map(|one| one.cursor.seq).collect();
    let delivered: Vec<i64> = commits.iter().map(|one| one.delivered).collect();
    let ahead = |one: &OutboxCommit| one.ahead.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
    let ahead: Vec<String> = commits.iter().map(ahead).collect();
    Ok(sqlx::query_scalar!(
        "UPDATE receiver_cursors AS c
         SET place = v.place, deployment_id = v.deployment_id, seq = v.seq, ahead = string_to_array(v.ahead, ',')::uuid[],
             version = v.version + 1,
             delivered = c.delivered + CASE WHEN c.version = v.version THEN v.delivered ELSE 0 END,
             last_delivered_at = CASE WHEN v.delivered > 0 THEN clock_timestamp() ELSE c.last_delivered_at END
         FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::bigint[])
              AS v (receiver_id, version, place, deployment_id, seq, ahead, delivered)
         WHERE c.receiver_id = v.receiver_id AND c.holder = $1
           AND (c.version = v.version
                OR (c.version = v.version + 1 AND (c.place, c.deployment_id, c.seq) = (v.place, v.deployment_id, v.seq)
                    AND c.ahead = string_to_array(v.ahead, ',')::uuid[]))
         RETURNING c.receiver_id",
        sender,
        &receivers,
        &versions,
        &places,
        &deployments,
        &seqs,
        &ahead,
        &delivered
    )
    .fetch_all(connection)
    .await?)
}

async fn store_rows(
    connection: &mut sqlx::PgConnection,
    commits: impl Iterator<Item = &OutboxCommit>,
) -> Result<(), DbError> {
    let rows: Vec<(&str, &DeliveryChange)> =
        commits.flat_map(|one| one.rows.iter().map(|row| (one.receiver.as_str(), row))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let receivers: Vec<String> = rows.iter().map(|(receiver, _)| (*receiver).to_owned()).collect();
    let ids: Vec<Uuid> = rows.iter().map(|(_, row)| row.event_id).collect();
    let places: Vec<i64> = rows.iter().map(|(_, row)| row.key.transaction).collect();
    let deployments: Vec<String> = rows.iter().map(|(_, row)| row.key.deployment_id.clone()).collect();
    let seqs: Vec<i64> = rows.iter().map(|(_, row)| row.key.seq).collect();
    let states: Vec<String> = rows.iter().map(|(_, row)| row.state.as_str().to_owned()).collect();
    let attempts: Vec<i32> = rows.iter().map(|(_, row)| row.attempts).collect();
    let waits: Vec<f64> = rows.iter().map(|(_, row)| row.wait.map_or(-1.0, |wait| wait.as_secs_f64())).collect();
    let statuses: Vec<i32> = rows.iter().map(|(_, row)| row.status.map_or(-1, i32::from)).collect();
    let errors: Vec<String> = rows.iter().map(|(_, row)| row.error.clone().unwrap_or_default()).collect();
    sqlx::query!(
        "INSERT INTO receiver_deliveries AS r (receiver_id, event_id, place, deployment_id, seq, state, attempts, next_attempt_at,
                                              last_status, last_error)
         SELECT v.receiver_id, v.event_id, v.place, v.deployment_id, v.seq, v.state, v.attempts,
                CASE WHEN v.state = 'pending' THEN clock_timestamp() + greatest(v.wait, 0) * interval '1 second' END,
                nullif(v.status, -1), nullif(v.error, '')
         FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::integer[], $8::float8[], $9::integer[],
                     $10::text[])
              AS v (receiver_id, event_id, place, deployment_id, seq, state, attempts, wait, status, error)
         ON CONFLICT (receiver_id, event_id) DO UPDATE
             SET state = excluded.state, attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
                 last_status = excluded.last_status, last_error = excluded.last_error, changed_at = clock_timestamp()",
        &receivers,
        &ids,
        &places,
        &deployments,
        &seqs,
        &states,
        &attempts,
        &waits,
        &statuses,
        &errors
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the next waiting delivery of each released deployment due, unless another one of the deployment is pending.
async fn release_waiting(
    connection: &mut sqlx::PgConnection,
    commits: impl Iterator<Item = &OutboxCommit>,
) -> Result<(), DbError> {
    let (receivers, deployments): (Vec<String>, Vec<String>) = commits
        .flat_map(|one| one.released.iter().map(|deployment| (one.receiver.clone(), deployment.clone())))
        .unzip();
    if receivers.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE receiver_deliveries AS r SET state = 'pending', next_attempt_at = clock_timestamp(), changed_at = clock_timestamp()
         FROM unnest($1::text[], $2::text[]) AS v (receiver_id, deployment_id)
         CROSS JOIN LATERAL (SELECT event_id, state FROM receiver_deliveries o
                             WHERE o.receiver_id = v.receiver_id AND o.deployment_id COLLATE \"C\" = v.deployment_id COLLATE \"C\"
                               AND o.state IN ('pending', 'waiting') ORDER BY o.seq LIMIT 1) AS next
         WHERE r.receiver_id = v.receiver_id AND r.event_id = next.event_id AND next.state = 'waiting'
           AND NOT EXISTS (SELECT FROM receiver_deliveries p
                           WHERE p.receiver_id = v.receiver_id AND p.deployment_id COLLATE \"C\" = v.deployment_id COLLATE \"C\"
                             AND p.state = 'pending')",
        &receivers,
        &deployments
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Remembers what receivers show of deployments, and ends the deliveries whose events are shown. A deployment that was archived meanwhile is left out.
async fn store_shown(
    connection: &mut sqlx::PgConnection,
    commits: impl Iterator<Item = &OutboxCommit>,
) -> Result<(), DbError> {
    let shown: Vec<(&str, &ShownDeployment)> =
        commits.flat_map(|one| one.shown.iter().map(|shown| (one.receiver.as_str(), shown))).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let receivers: Vec<String> = shown.iter().map(|(receiver, _)| (*receiver).to_owned()).collect();
    let deployments: Vec<String> = shown.iter().map(|(_, shown)| shown.deployment.clone()).collect();
    let seqs: Vec<i64> = shown.iter().map(|(_, shown)| shown.seq.unwrap_or(0)).collect();
    let references: Vec<Value> = shown.iter().map(|(_, shown)| shown.reference.clone().unwrap_or_default()).collect();
    sqlx::query!(
        "INSERT INTO receiver_references AS r (receiver_id, deployment_id, seq, reference)
         SELECT v.receiver_id, v.deployment_id, v.seq, nullif(v.reference, 'null')
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::jsonb[]) AS v (receiver_id, deployment_id, seq, reference)
         JOIN deployments d ON d.id = v.deployment_id
         ON CONFLICT (receiver_id, deployment_id) DO UPDATE
             SET seq = greatest(r.seq, excluded.seq), reference = coalesce(excluded.reference, r.reference)",
        &receivers,
        &deployments,
        &seqs,
        &references
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE receiver_deliveries AS r SET state = 'delivered', next_attempt_at = NULL, changed_at = clock_timestamp()
         FROM unnest($1::text[], $2::text[], $3::bigint[]) AS v (receiver_id, deployment_id, seq)
         WHERE r.receiver_id = v.receiver_id AND r.deployment_id COLLATE \"C\" = v.deployment_id COLLATE \"C\" AND r.seq <= v.seq
           AND r.state IN ('pending', 'waiting')",
        &receivers,
        &deployments,
        &seqs
    )
    .execute(connection)
    .await?;
    Ok(())
}
