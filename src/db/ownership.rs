//! Ownership of deployments: replicas with heartbeats, claims, releases. All times are by the database's clock.

use std::time::Duration;

use sqlx::types::{Json, Uuid};

use super::{Db, DbError};
use crate::domain::deployment::{Deployment, Facts, Override, RequestedRollback};
use crate::domain::interruptions::{Interruption, Interruptions};
use crate::domain::reason::Reason;
use crate::domain::request::Requested;
use crate::domain::trace::Trace;

/// Outcome of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease was renewed.
    Renewed,
    /// The row is missing or the lease had expired: another replica may own this one's deployments.
    Lost,
}

/// Work that exists for replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWork {
    /// Some replica advances a deployment, or should.
    pub active: bool,
    /// A deployment has no live owner, or no task at its owner.
    pub claimable: bool,
}

/// A deployment that [`Db::claim`] has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Deployment id, with the prefix `dep_`.
    pub id: String,
    /// Cause that interrupted the run of the previous owner; none when the deployment was released.
    pub interrupted: Option<Interruption>,
}

impl Db {
    /// Registers a lease for `process`, which may have had leases before. The lease starts now.
    pub async fn register_replica(&self, id: Uuid, process: Uuid, name: &str, lease: Duration) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO replicas (id, process_id, name, version, schema_version, lease_ms) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()",
            id,
            process,
            name,
            env!("CARGO_PKG_VERSION"),
            super::schema::known(),
            millis(lease)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Renews the lease. The statement touches `replicas` alone: a lock on any other table must not cost the lease.
    pub async fn heartbeat(&self, id: Uuid) -> Result<Heartbeat, DbError> {
        let renewed = sqlx::query!(
            "UPDATE replicas SET heartbeat_at = clock_timestamp()
             WHERE id = $1 AND heartbeat_at + lease_ms * interval '1 millisecond' > clock_timestamp()",
            id
        )
        .execute(&self.pool)
        .await?;
        Ok(if renewed.rows_affected() == 1 { Heartbeat::Renewed } else { Heartbeat::Lost })
    }

    /// Reports what an idle replica may have to claim, so that it can check with a cheap query instead of a claim. `replica` has no task for any row:
    /// a row that it owns is claimable too. It may still be unable to claim a row: [`Db::claim`] decides.
    pub async fn open_work(&self, replica: Uuid) -> Result<OpenWork, DbError> {
        Ok(sqlx::query_as!(
            OpenWork,
            "SELECT EXISTS (SELECT FROM deployments WHERE active) AS \"active!\", EXISTS (
                 SELECT FROM deployments d
                 WHERE d.active AND (d.replica_id IS NULL OR d.replica_id = $1 OR d.replica_id <> ALL (ARRAY (
                     SELECT r.id FROM replicas r
                     WHERE r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp())))
             ) AS \"claimable!\"",
            replica
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Corrects runs that were recorded as ended by the death of their process: `process` lives, and lost its lease during them.
    pub async fn record_lost_leases(&self, process: Uuid) -> Result<(), DbError> {
        sqlx::query!(
            "UPDATE step_runs SET outcome = 'lease_lost'
             WHERE outcome = 'lost' AND replica_id IN (SELECT id FROM replicas WHERE process_id = $1)",
            process
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Lists the interruptions of the deployment's step since its last progress, that is, since its last new step or new event.
    pub async fn interruptions(&self, deployment: &Deployment) -> Result<Interruptions, DbError> {
        let runs = sqlx::query!(
            "SELECT extract(epoch FROM s.ended_at - s.started_at)::float8 AS \"seconds!\",
                    (s.outcome = 'lease_lost' OR EXISTS (
                        SELECT FROM replicas o JOIN replicas n ON n.process_id = o.process_id AND n.started_at > o.started_at
                        WHERE o.id = s.replica_id)) AS \"lease_lost!\"
             FROM deployments d JOIN step_runs s ON s.deployment_id = d.id AND s.attempt = d.attempt AND s.step = d.step
             WHERE d.id = $1 AND s.outcome IN ('lost', 'lease_lost')
               AND s.ended_at > greatest(d.step_started_at, (
                       SELECT e.created_at FROM deployment_events e WHERE e.deployment_id = d.id ORDER BY e.seq DESC LIMIT 1))
             ORDER BY s.version DESC LIMIT 1000",
            deployment.id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(runs
            .into_iter()
            .map(|run| {
                let kind = if run.lease_lost { Interruption::LeaseLost } else { Interruption::ProcessDeath };
                (kind, Duration::from_secs_f64(run.seconds.max(0.0)))
            })
            .collect())
    }

    /// Releases all deployments of the replica and deletes the replica.
    pub async fn deregister_replica(&self, id: Uuid) -> Result<(), DbError> {
        // The condition on the status matches the index: an owned deployment is always active.
        sqlx::query!(
            "WITH given AS (
                 UPDATE deployments SET replica_id = NULL, run_started_at = NULL, version = version + 1
                 WHERE replica_id = $1 AND active
                 RETURNING id, version
             )
             INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at, outcome)
             SELECT given.id, given.version, d.attempt, d.step, $1, (SELECT name FROM replicas WHERE id = $1),
                    coalesce(d.run_started_at, d.step_started_at), now(), 'handed_over'
             FROM given JOIN deployments d ON d.id = given.id",
            id
        )
        .execute(&self.pool)
        .await?;
        sqlx::query!("DELETE FROM replicas WHERE id = $1", id).execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes replicas that have sent no heartbeat for an hour; their deployments were taken over long before.
    pub async fn delete_dead_replicas(&self) -> Result<u64, DbError> {
        let gone = sqlx::query!("DELETE FROM replicas WHERE heartbeat_at < clock_timestamp() - interval '1 hour'")
            .execute(&self.pool)
            .await?;
        Ok(gone.rows_affected())
    }

    /// Claims up to `limit` active deployments that are unowned or whose owner's lease has expired. `replica` must itself be alive. Considers only
    /// rows at one of the `known_steps`, because a newer version may have written others during an upgrade, and at most `heavy_limit` rows at one of
    /// the `heavy_steps`. After an error some rows may be claimed all the same: [`Db::owned_ids`] finds them.
    pub async fn claim(
        &self,
        replica: Uuid,
        limit: i64,
        known_steps: &[String],
        heavy_limit: i64,
        heavy_steps: &[String],
    ) -> Result<Vec<Claimed>, DbError> {
        let claimed = sqlx::query!(
            "WITH me AS (
                 SELECT id FROM replicas WHERE id = $1 AND heartbeat_at + lease_ms * interval '1 millisecond' > clock_timestamp()
             ), free AS (
                 SELECT d.id, d.step = ANY ($4) AS heavy, d.started_at, d.replica_id AS silent, d.attempt, d.step,
                        coalesce(d.run_started_at, d.step_started_at) AS begun
                 FROM deployments d
                 WHERE d.active
                   AND (d.replica_id IS NULL OR NOT EXISTS (
                           SELECT FROM replicas r WHERE r.id = d.replica_id
                             AND r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp()))
                   AND ($3::bigint > 0 OR NOT d.step = ANY ($4))
                   AND d.step = ANY ($5)
                 ORDER BY heavy, d.started_at
                 FOR UPDATE OF d SKIP LOCKED
                 LIMIT $2
             ), chosen AS (
                 SELECT * FROM (
                     SELECT *, row_number() OVER (PARTITION BY heavy ORDER BY started_at) AS n FROM free) numbered
                 WHERE NOT heavy OR n <= $3
             ), claimed AS (
                 UPDATE deployments d
                 SET replica_id = me.id, version = d.version + 1,
                     -- A run that lasted did not end its process by what the step does at once: a quiet execution may be followed
                     -- through many restarts. The step's own time limit bounds the rest.
                     claims_without_progress =
                         CASE WHEN d.run_started_at < now() - interval '1 minute' THEN 1 ELSE d.claims_without_progress + 1 END,
                     run_started_at = now()
                 FROM me, chosen WHERE d.id = chosen.id
                 RETURNING d.id, d.version
             ), lost AS (
                 -- A process that has joined again lives: it lost its lease, and did not die.
                 INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at, outcome)
                 SELECT chosen.id, claimed.version, chosen.attempt, chosen.step, chosen.silent,
                        (SELECT name FROM replicas WHERE id = chosen.silent), chosen.begun, now(),
                        CASE WHEN EXISTS (
                            SELECT FROM replicas o JOIN replicas n ON n.process_id = o.process_id AND n.started_at > o.started_at
                            WHERE o.id = chosen.silent) THEN 'lease_lost' ELSE 'lost' END
                 FROM claimed JOIN chosen ON chosen.id = claimed.id WHERE chosen.silent IS NOT NULL
                 RETURNING deployment_id, outcome
             )
             SELECT claimed.id AS \"id!\", lost.outcome AS \"outcome?\"
             FROM claimed LEFT JOIN lost ON lost.deployment_id = claimed.id",
            replica,
            limit,
            heavy_limit,
            heavy_steps,
            known_steps
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(claimed
            .into_iter()
            .map(|row| Claimed {
                id: row.id,
                interrupted: row.outcome.map(|outcome| match outcome.as_str() {
                    "lease_lost" => Interruption::LeaseLost,
                    _ => Interruption::ProcessDeath,
                }),
            })
            .collect())
    }

    /// Lists the ids of all deployments that `replica` owns.
    pub async fn owned_ids(&self, replica: Uuid) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT id FROM deployments
             WHERE replica_id = $1 AND active",
            replica
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Lists the deployments of `replica` whose cancellation was requested.
    pub async fn cancel_requested_ids(&self, replica: Uuid) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT id FROM deployments
             WHERE cancel_requested_at IS NOT NULL AND status IN ('RUNNING', 'DEPLOYMENT_READY') AND replica_id = $1",
            replica
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Loads the current rows of those `ids` that `replica` owns.
    pub async fn load_owned(&self, replica: Uuid, ids: &[String]) -> Result<Vec<Deployment>, DbError> {
        let rows = sqlx::query!(
            "SELECT d.id, d.status, d.owner, d.repo, d.branch, d.github_connection_id, d.aws_connection_id, d.account_id, d.region,
                 d.ecr_repository, d.attempt, d.step, d.step_state::text AS \"step_state!\", d.waiting_for, d.waiting_for_form, d.claims_without_progress, d.version,
                 extract(epoch FROM now() - d.step_started_at)::float8 AS \"step_elapsed!\",
                 extract(epoch FROM now() - d.attempt_started_at)::float8 AS \"attempt_elapsed!\", d.superseded_by, d.attempt_started_at,
                 d.trace_id, d.trace_parent,
                 (d.switch_requested_at IS NOT NULL) AS \"switch_requested!\", d.switch_audit_id, (d.cancel_requested_at IS NOT NULL) AS \"cancel_requested!\",
                 CASE WHEN d.rollback_requested_at IS NOT NULL THEN d.rollback_audit_id END AS rollback_audit_id,
                 (SELECT a.subject FROM audit a WHERE a.id = d.rollback_audit_id AND a.kind <> 'nobody') AS rollback_by,
                 d.facts AS \"facts: Json<Facts>\", d.build, d.reason, d.kind, gates.of::text AS gates,
                 started.subject AS \"started_by?\", started.details #>> '{override,reason}' AS start_reason,
                 switched.subject AS \"switched_by?\", switched.details #>> '{override,reason}' AS switch_reason
             FROM deployments d
             CROSS JOIN LATERAL (SELECT CASE WHEN NOT d.rolls_back THEN d.policy -> 'gates' END AS of) gates
             LEFT JOIN LATERAL (
                 SELECT a.subject, a.details FROM audit a
                 WHERE a.target = d.id AND a.action IN ('deploy', 'retry') AND a.result = 'done' ORDER BY a.id DESC LIMIT 1) started
                 ON gates.of IS NOT NULL
             LEFT JOIN audit switched ON switched.id = d.switch_audit_id AND gates.of IS NOT NULL
             WHERE d.id = ANY ($2) AND d.replica_id = $1",
            replica,
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Deployment {
                    id: row.id,
                    status: row.status.parse().map_err(DbError::corrupt)?,
                    owner: row.owner,
                    repo: row.repo,
                    requested: Requested::of_row(&row.branch, row.build, row.reason, &row.kind)
                        .map_err(DbError::corrupt)?,
                    github_connection_id: row.github_connection_id,
                    aws_connection_id: row.aws_connection_id,
                    account_id: row.account_id,
                    region: row.region,
                    ecr_repository: row.ecr_repository,
                    attempt: row.attempt,
                    step: row.step,
                    step_state: row.step_state,
                    step_elapsed: Duration::from_secs_f64(row.step_elapsed.max(0.0)),
                    attempt_started_at: row.attempt_started_at,
                    attempt_elapsed: Duration::from_secs_f64(row.attempt_elapsed.max(0.0)),
                    claims_without_progress: row.claims_without_progress,
                    version: row.version,
                    waiting_for: row.waiting_for.map(|text| Reason::stored(&text, row.waiting_for_form.as_ref())),
                    switch_requested: row.switch_requested,
                    switch_audit_id: row.switch_audit_id,
                    gates: row.gates,
                    start_override: Override::of_row(row.started_by, row.start_reason),
                    switch_override: Override::of_row(row.switched_by, row.switch_reason),
                    cancel_requested: row.cancel_requested,
                    rollback: row.rollback_audit_id.map(|audit_id| RequestedRollback { audit_id, by: row.rollback_by }),
                    superseded_by: row.superseded_by,
                    trace: Trace { id: row.trace_id, parent: row.trace_parent },
                    facts: row.facts.into(),
                })
            })
            .collect()
    }

    /// Returns those `ids` that are not at one of `steps`: finished, further along, or unknown.
    pub async fn not_at_steps(&self, ids: &[String], steps: &[String]) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!(
            "SELECT asked.id AS \"id!\" FROM unnest($1::text[]) AS asked (id)
             LEFT JOIN deployments d ON d.id = asked.id AND d.status = 'RUNNING' AND d.step = ANY ($2)
             WHERE d.id IS NULL",
            ids,
            steps
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Releases one deployment, so that another replica can claim it immediately. A planned hand-over does not count as lack of progress.
    pub async fn release(&self, id: &str, replica: Uuid, version: i64) -> Result<(), DbError> {
        sqlx::query!(
            "WITH given AS (
                 UPDATE deployments SET replica_id = NULL, run_started_at = NULL, version = version + 1,
                     claims_without_progress = greatest(claims_without_progress - 1, 0)
                 WHERE id = $1 AND replica_id = $2 AND version = $3
                 RETURNING version
             )
             INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at, outcome)
             SELECT $1, given.version, d.attempt, d.step, $2, (SELECT name FROM replicas WHERE id = $2),
                    coalesce(d.run_started_at, d.step_started_at), now(), 'handed_over'
             FROM given, deployments d WHERE d.id = $1",
            id,
            replica,
            version
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
