//! Indexes that a migration leaves to be built concurrently, because building them in the migration would block writes of a large table.

use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{Db, DbError};

/// Advisory lock of the building process. It is tried and never waited for: a waiting statement holds a snapshot, and building an index waits for
/// snapshots.
const BUILD_LOCK: i64 = 0x7061_6e64_615f_6978;

impl Db {
    /// Builds the missing indexes one after the other, without blocking writes, and returns their names. Returns none when another process is
    /// building.
    ///
    /// # Errors
    /// The role does not own the tables, or the connection broke: a half-built index is dropped and built again the next time.
    pub async fn build_deferred_indexes(&self) -> Result<Vec<String>, DbError> {
        let mut connection = self.connect_to_migrate().await?;
        let built = build(&mut connection).await;
        let _ = connection.close().await;
        built
    }
}

async fn build(connection: &mut PgConnection) -> Result<Vec<String>, DbError> {
    // Building takes as long as the table's size and the longest transaction require; no other statement waits for it.
    connection.execute("SET lock_timeout = 0").await?;
    let taken =
        sqlx::query_scalar!("SELECT pg_try_advisory_lock($1) AS \"taken!\"", BUILD_LOCK).fetch_one(&mut *connection);
    if !taken.await? {
        return Ok(Vec::new());
    }
    let mut built = Vec::new();
    let deferred = sqlx::query!("SELECT name, definition FROM deferred_indexes ORDER BY name");
    for index in deferred.fetch_all(&mut *connection).await? {
        tracing::info!(index = index.name, "building an index, queries that need it are slow until it is complete");
        // Name and definition come from a migration. An index whose build was interrupted exists and is not valid.
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
        // The planner has no statistics of an indexed expression until its table is analysed.
        connection.execute("ANALYZE deployments, audit").await?;
    }
    Ok(built)
}
