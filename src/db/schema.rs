//! The schema: migrates it while servers use it, and decides whether this program works with the schema that it finds.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::connect::{Cause, SessionLimits};
use super::{Db, DbError};
use crate::domain::schema::{Applied, Fit, Predecessor, fit};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Time that a migration waits for a table lock. Later statements queue up behind it, heartbeats included, so it must be less than a lease.
const LOCK_TIMEOUT: &str = "2s";

/// Time during which a blocked migration is retried: another replica's migration or a long transaction is in the way.
const LOCK_RETRY_TIMEOUT: Duration = Duration::from_mins(2);

/// Pause between two tries, in which statements that queued up behind the last try run first.
const LOCK_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Returns the number of the newest migration that this program knows.
pub fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Outcome of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The schema is this program's version.
    UpToDate,
    /// The schema is newer, at this migration, and works with this program.
    Newer(i64),
}

impl Db {
    /// Brings the schema up to date. Safe with several replicas, which migrate one after the other, and beside programs of the previous version.
    ///
    /// # Errors
    /// [`DbError::TooNew`] and [`DbError::Predecessor`] when this program must not use the schema; [`DbError::Unfit`] when Panda does not run on this database or the role may not
    /// migrate it; [`DbError::Migrate`] when a migration fails, and nothing of it was applied.
    pub async fn migrate(&self) -> Result<Migrated, DbError> {
        self.check_fitness().await?;
        match self.schema().await? {
            Fit::Fits { newer: Some(newer) } => return Ok(Migrated::Newer(newer)),
            // The migrator compares the applied migrations with the known ones, which needs a role that may migrate.
            Fit::Fits { newer: None } if self.check_may_migrate().await.is_err() => return Ok(Migrated::UpToDate),
            Fit::Fits { newer: None } => {}
            Fit::Behind => self.check_may_migrate().await?,
        }
        // The migrator's lock and its time limits belong to a session.
        if !self.connector.has_direct_sessions().await? {
            return match self.schema().await? {
                Fit::Fits { .. } => Ok(Migrated::UpToDate),
                Fit::Behind => Err(DbError::Unusable(Cause::Migration)),
            };
        }
        self.apply(&MIGRATIONS).await?;
        Ok(Migrated::UpToDate)
    }

    /// Applies those `migrations` that the database lacks, without blocking other statements for longer than a lock may be awaited.
    ///
    /// # Errors
    /// [`DbError::Migrate`] when a migration fails, and nothing of it was applied.
    pub async fn apply(&self, migrations: &Migrator) -> Result<(), DbError> {
        let begun = Instant::now();
        loop {
            // A dedicated connection: the migrator's lock ends with it under all circumstances, and the pool's statement limit is too short for a
            // large table.
            let mut connection = self.connect_to_migrate().await?;
            // `run` cannot be used, because its future is not `Send`; this is its second half.
            let done = migrations.run_direct(None, &mut connection, false).await;
            let _ = connection.close().await;
            match done {
                Ok(()) => return Ok(()),
                Err(error) if waited_for_a_lock(&error) && begun.elapsed() < LOCK_RETRY_TIMEOUT => {
                    tracing::info!(%error, "migration waiting: another migration or a long transaction holds a lock");
                    sleep(LOCK_RETRY_AFTER).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) async fn connect_to_migrate(&self) -> Result<PgConnection, DbError> {
        let session = SessionLimits { statement: "0", lock: LOCK_TIMEOUT, idle_in_transaction: "0" };
        Ok(self.connector.connect_directly(session, self.pool.inner().options().get_acquire_timeout()).await?)
    }

    /// Compares the schema with the migrations that this program knows.
    ///
    /// # Errors
    /// [`DbError::TooNew`] and [`DbError::Predecessor`] when this program must not use the schema.
    pub async fn schema(&self) -> Result<Fit, DbError> {
        let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        Ok(fit(&known, &self.applied().await?)?)
    }

    /// Lists the migrations applied to the database.
    async fn applied(&self) -> Result<Vec<Applied>, DbError> {
        let tables = sqlx::query!(
            "SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS \"migrated!\", to_regclass('schema_versions') IS NOT NULL AS \"declared!\""
        )
        .fetch_one(&self.pool)
        .await?;
        if !tables.migrated {
            return Ok(Vec::new());
        }
        let first = sqlx::query_scalar!("SELECT description FROM _sqlx_migrations WHERE version = 1");
        let first = first.fetch_optional(&self.pool).await?;
        if first.is_some_and(|first| MIGRATIONS.iter().any(|own| own.version == 1 && own.description != first)) {
            return Err(Predecessor.into());
        }
        if !tables.declared {
            return Ok(Vec::new());
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

/// Reports that a lock was not available in time: the migrator's or a table's.
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
    /// Treats a database that is unreachable, or stops during the migration, as anywhere else: retry later.
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => Self::from(error),
            other => Self::Migrate(other),
        }
    }
}
