//! What a session is on this database. Through a connection pooler in transaction mode, each transaction of a session may be with another server
//! process: settings, prepared statements, advisory locks and LISTEN of the one are not those of the next, and no error says so.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Error, Row as _};
use tokio::time::timeout;

use super::PLAIN;
use super::cause::{Cause, wrap};
use super::endpoint::Endpoint;

/// How long a connection of the test may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How often two sessions are compared. A pooler that hands its servers out in turn has shown one twice after as many as it has.
const ROUNDS: usize = 40;

/// How long a notification may take.
const NOTIFIED: Duration = Duration::from_secs(2);

/// What the sessions of the pools can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Whether each is with one server process from its beginning to its end.
    pub kept: bool,
    /// Whether notifications of the pools arrive at a listener.
    pub notified: bool,
}

/// Finds out.
pub(super) async fn run(pooled: &Arc<Endpoint>, direct: Option<&Arc<Endpoint>>) -> Result<Sessions, Error> {
    let mut one = pooled.connect(&PLAIN, LIMIT).await?;
    let mut two = pooled.connect(&PLAIN, LIMIT).await?;
    let kept = !shared(&mut one, &mut two).await?;
    if !kept {
        prepared(&mut one, &mut two).await?;
        settings(&mut one, pooled).await?;
    }
    let listening = if kept || direct.is_some() { direct.unwrap_or(pooled) } else { pooled };
    let notified = (kept || direct.is_some()) && notified(&mut one, listening).await?;
    if let Some(direct) = direct {
        let mut other = direct.connect(&PLAIN, LIMIT).await?;
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
        (true, true) => tracing::debug!("sessions of the database are kept, and notifications arrive"),
        (false, true) => tracing::info!("a connection pooler in transaction mode is used, beside a direct address"),
        (false, false) if !direct => tracing::warn!(
            "a connection pooler in transaction mode is used: notifications are lost, so events and work are looked for once a second, and the \
             schema cannot be migrated; give --database-direct-url (PANDA_DATABASE_DIRECT_URL) an address that leads to Postgres itself"
        ),
        _ => tracing::warn!(
            "notifications of the database do not arrive, so events and work are looked for once a second; give --database-direct-url \
             (PANDA_DATABASE_DIRECT_URL) an address that leads to Postgres itself"
        ),
    }
}

/// Whether both sessions are with the same server process at some time, or one of them is with several.
async fn shared(one: &mut PgConnection, two: &mut PgConnection) -> Result<bool, Error> {
    let own = process(one).await?;
    for _ in 0..ROUNDS {
        // Held while the other one asks: a pooler has to give that another process.
        sqlx::raw_sql("BEGIN").execute(&mut *two).await?;
        let held = process(two).await?;
        let now = process(one).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *two).await?;
        if held == own || now != own || process(two).await? != held {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn process(connection: &mut PgConnection) -> Result<String, Error> {
    // As text and without preparing: whether that works is not known yet.
    sqlx::raw_sql("SELECT pg_backend_pid()::text").fetch_one(connection).await?.try_get(0)
}

/// What no two databases share.
async fn identity(connection: &mut PgConnection) -> Result<String, Error> {
    let sql = "SELECT pg_postmaster_start_time()::text || ' ' || oid::text FROM pg_database WHERE datname = current_database()";
    sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)
}

/// Whether a statement that one process prepared is known to the next.
async fn prepared(one: &mut PgConnection, two: &mut PgConnection) -> Result<(), Error> {
    for n in 0..3_i32 {
        // Each time with another process: the last one is held.
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

/// Whether a process is as it has to be without settings of ours, which the next transaction may not see.
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
        // Names of ours.
        let sql = format!("SELECT reset_val FROM pg_settings WHERE name = '{name}'");
        let found: String = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?.try_get(0)?;
        if found != value {
            return Err(wrap(Cause::Pooled(name)));
        }
    }
    Ok(())
}

/// Whether what the pools notify arrives at `listening`.
async fn notified(pooled: &mut PgConnection, listening: &Arc<Endpoint>) -> Result<bool, Error> {
    let channel = format!("panda_self_test_{}", uuid::Uuid::new_v4().simple());
    let mut listener = super::listener(listening, LIMIT).await?;
    match listener.listen(&channel).await {
        Ok(()) => {}
        // A standby: what takes its place will do.
        Err(Error::Database(refused)) if refused.code().as_deref() == Some("25006") => return Ok(true),
        // A proxy that does not know LISTEN.
        Err(error) => {
            tracing::debug!(%error, "LISTEN is refused");
            return Ok(false);
        }
    }
    // Of ours: hex digits.
    sqlx::raw_sql(AssertSqlSafe(format!("NOTIFY {channel}"))).execute(pooled).await?;
    Ok(matches!(timeout(NOTIFIED, listener.recv()).await, Ok(Ok(_))))
}
