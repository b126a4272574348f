//! The schema: bringing it up to date while others use it, and whether this program works with the one that is there.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::connect::{Cause, Session};
use super::{Db, DbError};
use crate::domain::schema::{Applied, Fit, fit};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a migration waits for a table that others use. Whoever comes after it waits behind it, heartbeats too: less than a lease.
const LOCK_LIMIT: &str = "2s";

/// For how long it tries again: another replica's migration, or a long transaction of somebody else's, is in the way.
const LOCK_PATIENCE: Duration = Duration::from_mins(2);

/// Between two tries: what has queued up behind the last one goes first.
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// The newest migration that this program knows.
pub fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// What was done about the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// It is this program's own now.
    UpToDate,
    /// It is a newer one, the migration of this number, and works with this program.
    Newer(i64),
}

impl Db {
    /// Brings the schema up to date. Safe with several replicas, which take turns, and beside programs of the version before.
    ///
    /// # Errors
    /// [`DbError::TooNew`] when this program must not use it; [`DbError::Unfit`] when Panda does not run on this database or the role may not migrate
    /// it; [`DbError::Migrate`] when a migration cannot be done, and nothing of it is.
    pub async fn migrate(&self) -> Result<Migrated, DbError> {
        self.check_fitness().await?;
        match self.schema().await? {
            Fit::Fits { newer: Some(newer) } => return Ok(Migrated::Newer(newer)),
            // The migrator compares what was applied with what it knows, for a role that it lets do so.
            Fit::Fits { newer: None } if self.check_may_migrate().await.is_err() => return Ok(Migrated::UpToDate),
            Fit::Fits { newer: None } => {}
            Fit::Behind => self.check_may_migrate().await?,
        }
        // The migrator's lock and its limits are a session's.
        if !self.connector.keeps_directly().await? {
            return match self.schema().await? {
                Fit::Fits { .. } => Ok(Migrated::UpToDate),
                Fit::Behind => Err(DbError::Unusable(Cause::Migration)),
            };
        }
        let begun = Instant::now();
        loop {
            // A connection of its own: the migrator's lock goes with it, whatever happens, and the pool's limit for statements is too short
            // for a large table.
            let mut connection = self.connect_to_migrate().await?;
            // Not `run`, whose future cannot be sent to other threads; this is its second half.
            let done = MIGRATIONS.run_direct(None, &mut connection, false).await;
            let _ = connection.close().await;
            match done {
                Ok(()) => return Ok(Migrated::UpToDate),
                Err(error) if waited_for_a_lock(&error) && begun.elapsed() < LOCK_PATIENCE => {
                    tracing::info!(%error, "the migration waits: another one is running, or a long transaction is in the way");
                    sleep(LOCK_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) async fn connect_to_migrate(&self) -> Result<PgConnection, DbError> {
        let session = Session { statement: "0", lock: LOCK_LIMIT, idle_in_transaction: "0" };
        Ok(self.connector.connect_directly(session, self.pool.inner().options().get_acquire_timeout()).await?)
    }

    /// Whether this program works with the schema.
    ///
    /// # Errors
    /// [`DbError::TooNew`] when it must not use it.
    pub async fn schema(&self) -> Result<Fit, DbError> {
        let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        Ok(fit(&known, &self.applied().await?)?)
    }

    /// The migrations that the database has.
    async fn applied(&self) -> Result<Vec<Applied>, DbError> {
        let tables = sqlx::query!(
            "SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS \"migrated!\", to_regclass('schema_versions') IS NOT NULL AS \"said!\""
        )
        .fetch_one(&self.pool)
        .await?;
        if !tables.migrated {
            return Ok(Vec::new());
        }
        if !tables.said {
            let versions =
                sqlx::query_scalar!("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(&self.pool).await?;
            return Ok(versions.into_iter().map(|version| Applied { version, works_with: None }).collect());
        }
        let applied = sqlx::query_as!(
            Applied,
            "SELECT m.version AS \"version!\", v.works_with AS \"works_with?\" FROM _sqlx_migrations m LEFT JOIN schema_versions v USING (version) WHERE m.success"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(applied)
    }
}

/// A lock that was not to be had in time: the migrator's own, or a table's.
fn waited_for_a_lock(error: &MigrateError) -> bool {
    statement_error(error)
        .and_then(sqlx::Error::as_database_error)
        .and_then(sqlx::error::DatabaseError::code)
        .as_deref()
        == Some("55P03")
}

fn statement_error(error: &MigrateError) -> Option<&sqlx::Error> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Some(error),
        _ => None,
    }
}

impl From<MigrateError> for DbError {
    /// A database that is away, or stops in the middle of it, is what it is elsewhere: try again later.
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => Self::from(error),
            other => Self::Migrate(other),
        }
    }
}
