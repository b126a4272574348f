//! Access for readers of reports through the role `panda_report`.

use crate::db::{Db, DbError};

/// SQL for an administrator, for databases where the migration may not create roles. Safe to run again.
pub const ROLE_SCRIPT: &str = include_str!("role.sql");

/// State of the role `panda_report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporters {
    /// The role exists and may read every view.
    Ready,
    /// An administrator has to run [`ROLE_SCRIPT`].
    ScriptNeeded,
}

impl Db {
    /// Grants the role access to every view, and creates it where this user may create roles. Requires an up-to-date schema.
    pub async fn admit_reporters(&self) -> Result<Reporters, DbError> {
        if self.reporters().await? == Reporters::ScriptNeeded {
            sqlx::raw_sql(ROLE_SCRIPT).execute(&self.pool).await?;
        }
        self.reporters().await
    }

    /// Checks that the role exists and may read every view. Requires an up-to-date schema.
    pub async fn reporters(&self) -> Result<Reporters, DbError> {
        let ready = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'panda_report')
                AND (SELECT bool_and(coalesce(has_table_privilege(
                         (SELECT oid FROM pg_roles WHERE rolname = 'panda_report'), c.oid, 'SELECT'), false))
                     FROM pg_class c WHERE c.relnamespace = 'panda_report'::regnamespace AND c.relkind = 'v') AS \"ready!\""
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(if ready { Reporters::Ready } else { Reporters::ScriptNeeded })
    }
}
