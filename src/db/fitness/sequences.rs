//! Sequences of a database that was copied row by row.

use crate::db::{Db, DbError};

impl Db {
    /// Advances sequences that are behind the rows of their tables, and returns their names. Logical replication and `pg_dump --data-only` copy rows
    /// alone, so that each insert would fail until its sequence had passed the copied rows.
    pub async fn advance_sequences(&self) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT advance_sequences() AS \"name!\"").fetch_all(&self.pool).await?)
    }
}
