//! The role `panda_report`.

use crate::db::{Db, DbError};

/// What an administrator runs where the migration may not create roles; safe to run again.
pub const ROLE_SCRIPT: &str = include_str!("role.sql");

/// Whether people who report can be given access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporters {
    /// The role is there and may read every view.
    Ready,
    /// [`ROLE_SCRIPT`] has to be run by somebody who may.
    ScriptNeeded,
}

impl Db {
    /// Looks whether the role is there and may read every view. Needs the schema to be up to date.
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
