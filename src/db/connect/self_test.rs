//! Self-test of sessions. Through a connection pooler in transaction mode, each transaction of a session may run in a different server process:
//! settings, prepared statements, advisory locks and LISTEN of one are missing in the next, without any error.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Error, Row as _};
use tokio::time::timeout;

use super::DEFAULT_LIMITS;
use super::cause::{Cause, wrap};
use super::endpoint::Endpoint;

/// Time limit of each connection of the test.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of comparisons of two sessions. A pooler with round-robin servers shows one twice after as many comparisons as it has servers.
const ROUNDS: usize = 40;

/// Time limit of a notification.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(2);

/// Capabilities of the pools' sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Each session stays with one server process for its whole life.
    pub kept: bool,
    /// Notifications of the pools arrive at a listener.
    pub notified: bool,
}

/// Runs the self-test with two pooled sessions and, if there is one, the direct address.
pub(super) async fn run(pooled: &Arc<Endpoint>, direct: Option<&Arc<Endpoint>>) -> Result<Sessions, Error> {
    let mut one = pooled.connect(&DEFAULT_LIMITS, CONNECT_TIMEOUT).await?;
    let mut two = pooled.connect(&DEFAULT_LIMITS, CONNECT_TIMEOUT).await?;
    let kept = !shared(&mut one, &mut two).await?;
    if !kept {
        prepared(&mut one, &mut two).await?;
        settings(&mut one, pooled).await?;
    }
    let listening = if kept || direct.is_some() { direct.unwrap_or(pooled) } else { pooled };
    let notified = (kept || direct.is_some()) && notified(&mut one, listening).await?;
    if let Some(direct) = direct {
        let mut other = direct.connect(&DEFAULT_LIMITS, CONNECT_TIMEOUT).await?;
        if identity(&mut one).await? != identity(&mut other).await? {
            return Err(wrap(Cause::Elsewhere));
        }
    }
    for connection in [one, two] {
        let _ = connection.close().await;
    }
    report(kept, notified, direct.is_some());
    Ok(Sessions { kept, notified })
}

fn report(kept: bool, notified: bool, direct: bool) {
    match (kept, notified) {
        (true, true) => tracing::debug!("database sessions keep their server process, and notifications arrive"),
        (false, true) => tracing::info!(
            "connection pooler in transaction mode detected, with a direct address for listening and migrating"
        ),
        (false, false) if !direct => tracing::warn!(
            "connection pooler in transaction mode detected: notifications are lost, so events and work are polled every second or two, and the \
             schema cannot be migrated; set --database-direct-url (PANDA_DATABASE_DIRECT_URL) to an address of Postgres itself"
        ),
        _ => tracing::warn!(
            "database notifications do not arrive, so events and work are polled every second or two; set --database-direct-url \
             (PANDA_DATABASE_DIRECT_URL) to an address of Postgres itself"
        ),
    }
}

/// Reports that both sessions use the same server process at some time, or that one of them uses several.
async fn shared(one: &mut PgConnection, two: &mut PgConnection) -> Result<bool, Error> {
    let own = process(one).await?;
    for _ in 0..ROUNDS {
        // The transaction holds its process, so that a pooler has to give the other session a different one.
        sqlx::raw_sql("BEGIN").execute(&mut *two).await.map_err(begun)?;
        let held = process(two).await?;
        let now = process(one).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *two).await?;
        if held == own || now != own || process(two).await? != held {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The cause of a refused BEGIN: PgBouncer refuses transactions in statement mode with a protocol violation.
fn begun(error: Error) -> Error {
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
        Some("08P01") => wrap(Cause::Untransacted),
        _ => error,
    }
}

async fn process(connection: &mut PgConnection) -> Result<String, Error> {
    // As text and unprepared, because prepared statements are not known to work yet.
    sqlx::raw_sql("SELECT pg_backend_pid()::text").fetch_one(connection).await?.try_get(0)
}

/// Returns a value that no two databases share.
async fn identity(connection: &mut PgConnection) -> Result<String, Error> {
    let sql = "SELECT pg_postmaster_start_time()::text || ' ' || oid::text FROM pg_database WHERE datname = current_database()";
    sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)
}

/// Fails unless a statement prepared in one process is known to the next.
async fn prepared(one: &mut PgConnection, two: &mut PgConnection) -> Result<(), Error> {
    for n in 0..3_i32 {
        // The other session holds the last process, so that each try uses a different one.
        let answer = sqlx::query_scalar::<_, i32>("SELECT $1::int + 20231").bind(n).fetch_one(&mut *one).await;
        if answer.ok() != Some(n + 20_231) {
            return Err(wrap(Cause::Unprepared));
        }
        sqlx::raw_sql("ROLLBACK; BEGIN").execute(&mut *two).await?;
        process(two).await?;
    }
    sqlx::raw_sql("ROLLBACK").execute(two).await?;
    Ok(())
}

/// Fails unless a process has the required settings by default: those that Panda sets may be missing in the next transaction.
async fn settings(connection: &mut PgConnection, endpoint: &Endpoint) -> Result<(), Error> {
    if endpoint.has_settings() {
        return Err(wrap(Cause::Pooled("`options` of the address")));
    }
    for (name, value) in [
        ("default_transaction_isolation", "read committed"),
        ("standard_conforming_strings", "on"),
        ("row_security", "on"),
        ("session_replication_role", "origin"),
    ] {
        // The names are constants.
        let sql = format!("SELECT reset_val FROM pg_settings WHERE name = '{name}'");
        let found: String = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?.try_get(0)?;
        if found != value {
            return Err(wrap(Cause::Pooled(name)));
        }
    }
    Ok(())
}

/// Reports that a notification of the pools arrives at `listening`.
async fn notified(pooled: &mut PgConnection, listening: &Arc<Endpoint>) -> Result<bool, Error> {
    let channel = format!("panda_self_test_{}", uuid::Uuid::new_v4().simple());
    let mut listener = super::listener(listening, CONNECT_TIMEOUT).await?;
    match listener.listen(&channel).await {
        Ok(()) => {}
        // A standby refuses LISTEN; its successor will accept it.
        Err(Error::Database(refused)) if refused.code().as_deref() == Some("25006") => return Ok(true),
        // A proxy that does not support LISTEN.
        Err(error) => {
            tracing::debug!(%error, "LISTEN refused");
            return Ok(false);
        }
    }
    // The name consists of hex digits.
    sqlx::raw_sql(AssertSqlSafe(format!("NOTIFY {channel}"))).execute(pooled).await?;
    Ok(matches!(timeout(NOTIFICATION_TIMEOUT, listener.recv()).await, Ok(Ok(_))))
}
