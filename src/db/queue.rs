//! Queue of each target. A unique index ensures that a target has one unfinished deployment; the others wait in order, and those that a freeze holds.

use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Db, DbError, events, freezes};
use crate::domain::freeze::{Act, Place};
use crate::domain::hold::Hold;
use crate::domain::policy::Policy;

/// The first queued deployment of a free target: of those that neither a freeze nor a window may hold, or of the others.
struct Head {
    id: String,
    place: Place,
    ecr_repository: String,
    /// No freeze holds it.
    exempt: bool,
}

impl Db {
    /// Starts the first queued deployment of each free target that no freeze holds, and returns the ids. Safe to call from any replica at any time: a
    /// deployment is dequeued once.
    pub async fn start_queued_deployments(&self) -> Result<Vec<String>, DbError> {
        let mut started = Vec::new();
        for head in self.heads().await? {
            let mut tx = self.pool.begin().await?;
            lock_target(&mut tx, &head.place.account_id, &head.place.region, &head.ecr_repository).await?;
            // Read under the lock, at the time of the statement: a freeze may have been created or lifted meanwhile.
            let hold = if head.exempt { None } else { freezes::hold_of_start(&mut tx, &head.place).await? };
            if let Some(hold) = hold {
                events::append(&mut tx, &head.id, &hold.held()).await?;
                tx.commit().await?;
                continue;
            }
            // Checked again under the lock: another replica may have been faster, or the deployment may have been cancelled.
            let dequeued = sqlx::query!(
                "UPDATE deployments d
                 SET queued = false, (policy_version, policy) = (SELECT p.version, p.policy FROM policy_of(owner, repo, account_id, region) AS p),
                     turn_at = now(), attempt_started_at = now(), step_started_at = now(), version = version + 1
                 WHERE id = $1 AND queued AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND cancel_requested_at IS NULL
                   AND NOT EXISTS (SELECT FROM deployments h
                                   WHERE (h.account_id, h.region, h.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
                                     AND h.status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT h.queued)",
                head.id
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            if dequeued.rows_affected() == 1 {
                started.push(head.id);
            }
        }
        Ok(started)
    }

    /// Lists the heads of the queues of free targets, in the order of each queue. Those that freezes hold, and that have been reported as such, are left out.
    async fn heads(&self) -> Result<Vec<Head>, DbError> {
        let rows = sqlx::query!(
            "SELECT id AS \"id!\", owner AS \"owner!\", repo AS \"repo!\", account_id AS \"account_id!\", region AS \"region!\",
                    ecr_repository AS \"ecr_repository!\", exempt AS \"exempt!\", reported AS \"reported!\",
                    (SELECT p.policy FROM policy_of(owner, repo, account_id, region) AS p) AS \"policy: Json<Policy>\"
             FROM (SELECT DISTINCT ON (q.account_id, q.region, q.ecr_repository, q.rolls_back OR q.freeze_overridden)
                          q.id, q.owner, q.repo, q.account_id, q.region, q.ecr_repository, q.rolls_back OR q.freeze_overridden AS exempt,
                          q.caused_by, q.queued_at,
                          ARRAY (SELECT e.key FROM deployment_events e WHERE e.deployment_id = q.id AND e.attempt = q.attempt
                                 AND e.code IN ('deployment_frozen', 'window_awaited')) AS reported
                   FROM deployments q
                   WHERE q.queued AND q.status IN ('RUNNING', 'DEPLOYMENT_READY') AND q.cancel_requested_at IS NULL
                     AND NOT EXISTS (SELECT FROM deployments h
                                     WHERE (h.account_id, h.region, h.ecr_repository) = (q.account_id, q.region, q.ecr_repository)
                                       AND h.status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT h.queued)
                   ORDER BY q.account_id, q.region, q.ecr_repository, q.rolls_back OR q.freeze_overridden, (q.caused_by IS NULL), q.queued_at, q.id
             ) AS heads
             ORDER BY account_id, region, ecr_repository, (caused_by IS NULL), queued_at, id"
        )
        .fetch_all(&self.pool)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let pending = self.pending_freezes().await?;
        let heads = rows.into_iter().filter_map(|row| {
            let place = Place { owner: row.owner, repo: row.repo, account_id: row.account_id, region: row.region };
            let policy = row.policy.map(|policy| policy.0);
            let hold = if row.exempt { None } else { Hold::of(&pending, &place, Act::Start, policy.as_ref()) };
            let reported = hold.is_some_and(|hold| row.reported.contains(&hold.held().key));
            (!reported).then_some(Head { id: row.id, place, ecr_repository: row.ecr_repository, exempt: row.exempt })
        });
        Ok(heads.collect())
    }
}

/// Locks the target until the caller's transaction ends: a transaction that decides which deployment holds it must see earlier decisions.
pub async fn lock_target(
    connection: &mut PgConnection,
    account_id: &str,
    region: &str,
    ecr_repository: &str,
) -> Result<(), DbError> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) AS \"locked: _\"",
        format!("target {account_id}/{region}/{ecr_repository}") as _
    )
    .execute(connection)
    .await?;
    Ok(())
}
