//! Clean-up of a replica's own machine: the database decides which artifacts are no longer needed.

use chrono::{DateTime, Utc};

use crate::db::{Db, DbError};

impl Db {
    /// Returns those `ids` that ended before `older_than`. Unknown ids are not returned: several installations may share an engine.
    pub async fn ended_before(&self, ids: &[String], older_than: DateTime<Utc>) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT id FROM deployments WHERE id = ANY ($1) AND completed_at < $2", ids, older_than)
            .fetch_all(&self.pool)
            .await?)
    }
}
