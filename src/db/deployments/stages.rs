//! Stages of a deployment's attempt, and how long each usually takes.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::db::{Db, DbError};

/// A stage that an attempt has begun.
#[derive(Clone, Debug)]
pub struct StageView {
    /// Name, such as `Stage 1`.
    pub stage: String,
    /// Start of its first step.
    pub started_at: DateTime<Utc>,
    /// End of its last step; none while one runs.
    pub ended_at: Option<DateTime<Utc>>,
    /// Time in which a step worked, in seconds.
    pub working_seconds: f64,
}

/// A target, for its earlier deployments.
#[derive(Clone, Copy, Debug)]
pub struct TargetKey<'a> {
    /// AWS account, twelve digits.
    pub account_id: &'a str,
    /// AWS region of the ECS service.
    pub region: &'a str,
    /// Name of the ECR repository.
    pub ecr_repository: &'a str,
}

impl Db {
    /// Lists the stages that an attempt has begun, in their order.
    pub async fn stages(&self, id: &str, attempt: i32) -> Result<Vec<StageView>, DbError> {
        Ok(sqlx::query_as!(
            StageView,
            "SELECT stage AS \"stage!\", started_at AS \"started_at!\", ended_at, coalesce(working_seconds, 0) AS \"working_seconds!\"
             FROM history_stages WHERE deployment_id = $1 AND attempt = $2 ORDER BY started_at, stage",
            id,
            attempt
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the median working time of each stage in the target's newest twenty completed deployments, in seconds.
    pub async fn usual_stages(&self, target: TargetKey<'_>) -> Result<HashMap<String, f64>, DbError> {
        let rows = sqlx::query!(
            "SELECT s.stage AS \"stage!\", percentile_cont(0.5) WITHIN GROUP (ORDER BY s.working_seconds) AS \"seconds!\"
             FROM (SELECT id, attempt FROM deployments
                   WHERE status = 'COMPLETED' AND (account_id, region, ecr_repository) = ($1, $2, $3)
                   ORDER BY completed_at DESC LIMIT 20) AS d
             CROSS JOIN LATERAL (SELECT stage, working_seconds FROM history_stages h
                                 WHERE h.deployment_id = d.id AND h.attempt = d.attempt AND h.working_seconds IS NOT NULL) AS s
             GROUP BY s.stage",
            target.account_id,
            target.region,
            target.ecr_repository
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.stage, row.seconds)).collect())
    }
}
