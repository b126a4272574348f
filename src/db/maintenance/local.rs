//! What is removed from a replica's own machine: the database says what of it is still needed.

use chrono::{DateTime, Utc};

use crate::db::{Db, DbError};

impl Db {
    /// Those of `ids` that ended before `older_than`. One that is not ours is none of them: several installations may share an engine.
    pub async fn ended_before(&self, ids: &[String], older_than: DateTime<Utc>) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT id FROM deployments WHERE id = ANY ($1) AND completed_at < $2", ids, older_than)
            .fetch_all(&self.pool)
            .await?)
    }
}
