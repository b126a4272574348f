//! The outbox of webhooks: which process delivers to which receiver, how far each has received the events, and deliveries that failed.
//!
//! A write of a process that no longer holds a receiver changes nothing: each names the holder and the version that it read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::feed::{FeedEvent, FeedKey};
use super::{Db, DbError};
use crate::domain::event::StoredEvent;

/// State of a delivery that has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum DeliveryState {
    /// It is tried again.
    Pending,
    /// An earlier event of its deployment is pending.
    Waiting,
    /// The receiver accepted it, not at the first attempt.
    Delivered,
    /// Its last attempt failed.
    Dead,
}

impl DeliveryState {
    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The installation's webhooks, as one sender sees them.
#[derive(Clone, Debug, Default)]
pub struct OutboxView {
    /// Webhooks that are enabled, by id.
    pub webhooks: Vec<OutboxWebhook>,
    /// Senders that are alive, this one included.
    pub senders: Vec<Uuid>,
    /// Present time, by the database's clock; none without webhooks.
    pub now: Option<DateTime<Utc>>,
}

/// An enabled webhook, as one sender sees it.
#[derive(Clone, Debug)]
pub struct OutboxWebhook {
    /// Id of the webhook, with the prefix `whk_`.
    pub id: String,
    /// Revision of its settings.
    pub revision: i64,
    /// Version of its cursor.
    pub version: i64,
    /// This sender holds it, and the lease was renewed.
    pub mine: bool,
    /// No sender holds it, or its holder's lease has expired.
    pub free: bool,
}

/// A receiver that this sender has just taken over.
#[derive(Clone, Debug)]
pub struct ClaimedCursor {
    /// Id of the webhook, with the prefix `whk_`.
    pub webhook: String,
    /// Each event up to here is settled.
    pub cursor: FeedKey,
    /// Ids of settled events after the cursor.
    pub ahead: Vec<Uuid>,
    /// Version after the claim.
    pub version: i64,
}

/// Progress of one receiver, committed as a whole.
#[derive(Clone, Debug)]
pub struct OutboxCommit {
    /// Id of the webhook, with the prefix `whk_`.
    pub webhook: String,
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

/// A delivery that is due again.
#[derive(Debug)]
pub struct DueDelivery {
    /// Id of the webhook, with the prefix `whk_`.
    pub webhook: String,
    /// Id of the event, which is the delivery's.
    pub event_id: Uuid,
    /// The event's key in the order of all events.
    pub key: FeedKey,
    /// Failed attempts since the last replay.
    pub attempts: i32,
    /// The event; none when retention has removed it.
    pub event: Option<FeedEvent>,
}

impl Db {
    /// Records that `sender` is alive, renews its leases of `held`, and returns the enabled webhooks.
    pub async fn beat_sender(&self, sender: Uuid, held: &[String], lease: Duration) -> Result<OutboxView, DbError> {
        let rows = sqlx::query!(
            "WITH beat AS (INSERT INTO webhook_senders (id, seen_at) VALUES ($1, clock_timestamp())
                           ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at),
                  renewed AS (UPDATE webhook_cursors SET expires_at = clock_timestamp() + $3::float8 * interval '1 second'
                              WHERE holder = $1 AND webhook_id = ANY ($2::text[]) RETURNING webhook_id)
             SELECT w.id, w.revision, c.version, r.webhook_id IS NOT NULL AS \"mine!\",
                    c.holder IS NULL OR c.holder = $1 OR c.expires_at < clock_timestamp() AS \"free!\",
                    ARRAY (SELECT s.id FROM webhook_senders s
                           WHERE s.id <> $1 AND s.seen_at > clock_timestamp() - $3::float8 * interval '1 second') AS \"others!\",
                    clock_timestamp() AS \"now!\"
             FROM webhooks w JOIN webhook_cursors c ON c.webhook_id = w.id LEFT JOIN renewed r ON r.webhook_id = w.id
             WHERE w.disabled_at IS NULL ORDER BY w.id",
            sender,
            held,
            lease.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut view = OutboxView { senders: vec![sender], ..OutboxView::default() };
        if let Some(first) = rows.first() {
            view.senders.extend(&first.others);
            view.now = Some(first.now);
        }
        let webhooks = rows.into_iter().map(|row| OutboxWebhook {
            id: row.id,
            revision: row.revision,
            version: row.version,
            mine: row.mine,
            free: row.free,
        });
        view.webhooks = webhooks.collect();
        Ok(view)
    }

    /// Takes over those of `webhooks` that no live sender holds.
    pub async fn claim_cursors(
        &self,
        sender: Uuid,
        webhooks: &[String],
        lease: Duration,
    ) -> Result<Vec<ClaimedCursor>, DbError> {
        let rows = sqlx::query!(
            "UPDATE webhook_cursors SET holder = $1, expires_at = clock_timestamp() + $3::float8 * interval '1 second', version = version + 1
             WHERE webhook_id = ANY ($2) AND (holder IS NULL OR holder = $1 OR expires_at < clock_timestamp())
             RETURNING webhook_id, place, deployment_id, seq, ahead, version",
            sender,
            webhooks,
            lease.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await?;
        let claimed = rows.into_iter().map(|row| ClaimedCursor {
            webhook: row.webhook_id,
            cursor: FeedKey { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq },
            ahead: row.ahead,
            version: row.version,
        });
        Ok(claimed.collect())
    }

    /// Lets other senders take over these webhooks immediately.
    pub async fn release_cursors(&self, sender: Uuid, webhooks: &[String]) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE webhook_cursors SET holder = NULL WHERE holder = $1 AND webhook_id = ANY ($2)",
            sender,
            webhooks
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes a sender that ends, and releases everything that it holds.
    pub async fn end_sender(&self, sender: Uuid) -> Result<(), DbError> {
        sqlx::query!(
            "WITH ended AS (DELETE FROM webhook_senders WHERE id = $1)
             UPDATE webhook_cursors SET holder = NULL WHERE holder = $1",
            sender
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Counts the pending and waiting deliveries of these webhooks, by webhook and deployment.
    pub async fn open_deliveries(&self, webhooks: &[String]) -> Result<Vec<(String, String, i64)>, DbError> {
        let rows = sqlx::query!(
            "SELECT webhook_id, deployment_id, count(*) AS \"count!\" FROM webhook_deliveries
             WHERE webhook_id = ANY ($1) AND state IN ('pending', 'waiting') GROUP BY webhook_id, deployment_id",
            webhooks
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.webhook_id, row.deployment_id, row.count)).collect())
    }

    /// Lists deliveries that are due, at most `limit` of each webhook, besides those of `in_flight`.
    pub async fn due_deliveries(
        &self,
        webhooks: &[String],
        in_flight: &[Uuid],
        limit: i64,
    ) -> Result<Vec<DueDelivery>, DbError> {
        let rows = sqlx::query!(
            "SELECT r.webhook_id AS \"webhook_id!\", r.event_id AS \"event_id!\", r.place AS \"place!\",
                    r.deployment_id AS \"deployment_id!\", r.seq AS \"seq!\", r.attempts AS \"attempts!\",
                    e.attempt AS \"attempt?\", e.code AS \"code?\", e.params AS \"params?\", e.created_at AS \"created_at?\",
                    e.status AS \"status?\", d.owner AS \"owner?\", d.repo AS \"repo?\", d.branch AS \"branch?\"
             FROM unnest($1::text[]) AS held (id)
             CROSS JOIN LATERAL (SELECT * FROM webhook_deliveries
                                 WHERE webhook_id = held.id AND state = 'pending' AND next_attempt_at <= clock_timestamp()
                                   AND event_id <> ALL ($2::uuid[])
                                 ORDER BY next_attempt_at LIMIT $3) AS r
             LEFT JOIN deployment_events e ON e.deployment_id = r.deployment_id AND e.seq = r.seq AND e.id = r.event_id
             LEFT JOIN deployments d ON d.id = e.deployment_id
             ORDER BY r.place, r.deployment_id COLLATE \"C\", r.seq",
            webhooks,
            in_flight,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            let key = FeedKey { transaction: row.place, deployment_id: row.deployment_id, seq: row.seq };
            let found = row.attempt.zip(row.code).zip(row.params).zip(row.created_at).zip(row.status);
            let source = row.owner.zip(row.repo).zip(row.branch);
            let event = match found.zip(source) {
                Some((((((attempt, code), params), created_at), status), ((owner, repo), branch))) => Some(FeedEvent {
                    key: key.clone(),
                    status: status.parse().map_err(DbError::corrupt)?,
                    owner,
                    repo,
                    branch,
                    event: StoredEvent {
                        seq: key.seq,
                        id: row.event_id,
                        attempt,
                        code,
                        params: match params {
                            Value::Object(params) => params,
                            _ => Map::new(),
                        },
                        created_at,
                    },
                }),
                None => None,
            };
            due.push(DueDelivery {
                webhook: row.webhook_id,
                event_id: row.event_id,
                key,
                attempts: row.attempts,
                event,
            });
        }
        Ok(due)
    }

    /// Commits progress of several receivers. Returns those that this sender still holds; nothing of the others is changed. The call may be repeated
    /// after an error: what was committed is recognised by its version and cursor.
    pub async fn commit_outbox(&self, sender: Uuid, commits: &[OutboxCommit]) -> Result<Vec<String>, DbError> {
        let plain =
            commits.iter().all(|one| one.rows.is_empty() && one.released.is_empty() && !one.gone && !one.recovered);
        if plain {
            return advance(&mut *self.pool.acquire().await?, sender, commits).await;
        }
        let mut tx = self.pool.begin().await?;
        let held = advance(&mut tx, sender, commits).await?;
        let mine = || commits.iter().filter(|one| held.contains(&one.webhook));
        store_rows(&mut tx, mine()).await?;
        release_waiting(&mut tx, mine()).await?;
        let recovered: Vec<String> = mine().filter(|one| one.recovered).map(|one| one.webhook.clone()).collect();
        if !recovered.is_empty() {
            sqlx::query!(
                "UPDATE webhook_deliveries SET next_attempt_at = clock_timestamp()
                 WHERE webhook_id = ANY ($1) AND state = 'pending' AND next_attempt_at > clock_timestamp()",
                &recovered
            )
            .execute(&mut *tx)
            .await?;
        }
        let gone: Vec<String> = mine().filter(|one| one.gone).map(|one| one.webhook.clone()).collect();
        if !gone.is_empty() {
            sqlx::query!(
                "UPDATE webhooks SET disabled_at = clock_timestamp(), disabled_reason = 'gone', revision = revision + 1
                 WHERE id = ANY ($1) AND disabled_at IS NULL",
                &gone
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(held)
    }

    /// Deletes senders that have been silent for an hour.
    pub async fn delete_dead_senders(&self) -> Result<u64, DbError> {
        let deleted = sqlx::query!("DELETE FROM webhook_senders WHERE seen_at < clock_timestamp() - interval '1 hour'");
        Ok(deleted.execute(&self.pool).await?.rows_affected())
    }

    /// Deletes up to `limit` rows of deliveries that ended more than 30 days ago.
    pub async fn delete_old_deliveries(&self, limit: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN (
                 SELECT webhook_id, event_id FROM webhook_deliveries
                 WHERE state IN ('delivered', 'dead') AND changed_at < clock_timestamp() - interval '30 days'
                 ORDER BY changed_at LIMIT $1)",
            limit
        );
        Ok(deleted.execute(&self.pool).await?.rows_affected())
    }
}

/// Moves the cursors. A repetition of a commit that had succeeded changes nothing, and returns the webhook too.
async fn advance(
    connection: &mut sqlx::PgConnection,
    sender: Uuid,
    commits: &[OutboxCommit],
) -> Result<Vec<String>, DbError> {
    let webhooks: Vec<String> = commits.iter().map(|one| one.webhook.clone()).collect();
    let versions: Vec<i64> = commits.iter().map(|one| one.version).collect();
    let places: Vec<i64> = commits.iter().map(|one| one.cursor.transaction).collect();
    let deployments: Vec<String> = commits.iter().map(|one| one.cursor.deployment_id.clone()).collect();
    let seqs: Vec<i64> = commits.iter().map(|one| one.cursor.seq).collect();
    let delivered: Vec<i64> = commits.iter().map(|one| one.delivered).collect();
    let ahead = |one: &OutboxCommit| one.ahead.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",");
    let ahead: Vec<String> = commits.iter().map(ahead).collect();
    Ok(sqlx::query_scalar!(
        "UPDATE webhook_cursors AS c
         SET place = v.place, deployment_id = v.deployment_id, seq = v.seq, ahead = string_to_array(v.ahead, ',')::uuid[],
             version = v.version + 1,
             delivered = c.delivered + CASE WHEN c.version = v.version THEN v.delivered ELSE 0 END,
             last_delivered_at = CASE WHEN v.delivered > 0 THEN clock_timestamp() ELSE c.last_delivered_at END
         FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::bigint[])
              AS v (webhook_id, version, place, deployment_id, seq, ahead, delivered)
         WHERE c.webhook_id = v.webhook_id AND c.holder = $1
           AND (c.version = v.version
                OR (c.version = v.version + 1 AND (c.place, c.deployment_id, c.seq) = (v.place, v.deployment_id, v.seq)
                    AND c.ahead = string_to_array(v.ahead, ',')::uuid[]))
         RETURNING c.webhook_id",
        sender,
        &webhooks,
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
        commits.flat_map(|one| one.rows.iter().map(|row| (one.webhook.as_str(), row))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let webhooks: Vec<String> = rows.iter().map(|(webhook, _)| (*webhook).to_owned()).collect();
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
        "INSERT INTO webhook_deliveries AS r (webhook_id, event_id, place, deployment_id, seq, state, attempts, next_attempt_at,
                                              last_status, last_error)
         SELECT v.webhook_id, v.event_id, v.place, v.deployment_id, v.seq, v.state, v.attempts,
                CASE WHEN v.state = 'pending' THEN clock_timestamp() + greatest(v.wait, 0) * interval '1 second' END,
                nullif(v.status, -1), nullif(v.error, '')
         FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::integer[], $8::float8[], $9::integer[],
                     $10::text[])
              AS v (webhook_id, event_id, place, deployment_id, seq, state, attempts, wait, status, error)
         ON CONFLICT (webhook_id, event_id) DO UPDATE
             SET state = excluded.state, attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
                 last_status = excluded.last_status, last_error = excluded.last_error, changed_at = clock_timestamp()",
        &webhooks,
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
    let (webhooks, deployments): (Vec<String>, Vec<String>) =
        commits.flat_map(|one| one.released.iter().map(|deployment| (one.webhook.clone(), deployment.clone()))).unzip();
    if webhooks.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE webhook_deliveries AS r SET state = 'pending', next_attempt_at = clock_timestamp(), changed_at = clock_timestamp()
         FROM unnest($1::text[], $2::text[]) AS v (webhook_id, deployment_id)
         CROSS JOIN LATERAL (SELECT event_id, state FROM webhook_deliveries o
                             WHERE o.webhook_id = v.webhook_id AND o.deployment_id COLLATE \"C\" = v.deployment_id COLLATE \"C\"
                               AND o.state IN ('pending', 'waiting') ORDER BY o.seq LIMIT 1) AS next
         WHERE r.webhook_id = v.webhook_id AND r.event_id = next.event_id AND next.state = 'waiting'
           AND NOT EXISTS (SELECT FROM webhook_deliveries p
                           WHERE p.webhook_id = v.webhook_id AND p.deployment_id COLLATE \"C\" = v.deployment_id COLLATE \"C\"
                             AND p.state = 'pending')",
        &webhooks,
        &deployments
    )
    .execute(connection)
    .await?;
    Ok(())
}
