//! Indexes that a migration left to be built concurrently, because writes of a large table would wait for them.

use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{Db, DbError};

/// The advisory lock of the one who builds, tried and never waited for: who waits in a statement holds a snapshot, and building waits for those.
const LOCK: i64 = 0x7061_6e64_615f_6978;

impl Db {
    /// Builds what is missing, one after the other, without locking writes out; returns the names. None when another process is at it.
    ///
    /// # Errors
    /// The role owns no tables, or the connection broke: what is half built is dropped and built again the next time.
    pub async fn build_deferred_indexes(&self) -> Result<Vec<String>, DbError> {
        let mut connection = self.connect_to_migrate().await?;
        let built = build(&mut connection).await;
        let _ = connection.close().await;
        built
    }
}

async fn build(connection: &mut PgConnection) -> Result<Vec<String>, DbError> {
    // It takes as long as the table is large, and as the longest transaction lasts; others do not wait for it.
    connection.execute("SET lock_timeout = 0").await?;
    let taken = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1) AS \"taken!\"", LOCK).fetch_one(&mut *connection);
    if !taken.await? {
        return Ok(Vec::new());
    }
    let mut built = Vec::new();
    let deferred = sqlx::query!("SELECT name, definition FROM deferred_indexes ORDER BY name");
    for index in deferred.fetch_all(&mut *connection).await? {
        tracing::info!(index = index.name, "an index is built; queries that need it are slow until then");
        // Both are a migration's own words. An index whose building was broken off is there, and not valid.
        let broken = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid) AS \"broken!\"",
            index.name
        );
        if broken.fetch_one(&mut *connection).await? {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.name);
            connection.execute(sqlx::AssertSqlSafe(drop)).await?;
        }
        let create = format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {}", index.name, index.definition);
        connection.execute(sqlx::AssertSqlSafe(create)).await?;
        sqlx::query!("DELETE FROM deferred_indexes WHERE name = $1", index.name).execute(&mut *connection).await?;
        built.push(index.name);
    }
    if !built.is_empty() {
        // What the planner knows of an expression, it knows once its index is analysed.
        connection.execute("ANALYZE deployments, audit").await?;
    }
    Ok(built)
}
