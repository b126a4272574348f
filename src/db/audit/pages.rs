//! Pages of the audit log, newest first, read from indexes alone, like pages of deployments: `docs/decisions/0045-scopes-are-index-keys.md`.

use chrono::{DateTime, Utc};

use super::{AuditFilter, AuditView};
use crate::db::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::principal::Scope;
use crate::domain::scope_keys::{Keys, Narrowed};

/// Selects the page whose ids these pieces of SQL return. $1 is the scope, $2 and $3 the time and id to be before, $4 the start time, $5 the page
/// size, $6, $7 and $8 subject, action and target.
macro_rules! page {
    ($db:expr, $scope:expr, $filter:expr, $before:expr, ($($ids:tt)+) $(, $argument:expr)*) => {
        sqlx::query_as!(
            AuditView,
            "SELECT id, at, times, first_at, request_id, address, subject, kind, token_id, role, action, target, owner, repo, result, error_code, details
             FROM audit WHERE id = ANY (ARRAY(" + $($ids)+ + ")) ORDER BY at DESC, id DESC",
            $scope.sql(),
            $before.map(|(at, _)| at) as Option<DateTime<Utc>>,
            $before.map(|(_, id)| id) as Option<i64>,
            $filter.since as Option<DateTime<Utc>>,
            $filter.limit,
            $filter.subject.as_deref() as Option<&str>,
            $filter.action.map(Action::as_str) as Option<&str>,
            $filter.target.as_deref() as Option<&str>,
            $($argument),*
        )
        .fetch_all(&$db.pool)
        .await
    };
}

/// Selects the page of rows whose `expression`, the beginning of an index, is one of `keys`: $10, and with a second expression $11; $9 is the sample
/// size. All filters are applied, including those that the expression covers already; they are a CASE, so that the planner assumes no selectivity.
macro_rules! newest {
    ($db:expr, $scope:expr, $filter:expr, $before:expr, $sample:expr, $(($expression:tt, $keys:tt, $argument:expr)),+) => {
        page!(
            $db, $scope, $filter, $before,
            ("WITH bound AS (
                SELECT at FROM (
                    SELECT NULL::timestamp AS at WHERE false"
                    $(+ " UNION ALL
                    SELECT sample.at FROM unnest(" + $keys + "::text[]) AS key, LATERAL (
                        SELECT at AT TIME ZONE 'UTC' AS at FROM audit
                        WHERE " + $expression + " = key
                          AND CASE WHEN in_scope(owner, repo, $1) AND ($6::text IS NULL OR subject = $6) AND ($7::text IS NULL OR action = $7)
                                        AND ($8::text IS NULL OR target = $8) THEN true ELSE false END
                          AND (at AT TIME ZONE 'UTC', id) < (coalesce($2::timestamptz, 'infinity') AT TIME ZONE 'UTC', coalesce($3::bigint, 0))
                          AND at AT TIME ZONE 'UTC' >= coalesce($4::timestamptz, '-infinity') AT TIME ZONE 'UTC'
                        ORDER BY at AT TIME ZONE 'UTC' DESC, id DESC LIMIT (SELECT $9::bigint)) AS sample")+
                + ") AS samples ORDER BY at DESC OFFSET $5::bigint - 1 LIMIT 1
             )
             SELECT id FROM (
                SELECT NULL::timestamp AS at, NULL::bigint AS id WHERE false"
                $(+ " UNION ALL
                SELECT page.at, page.id FROM unnest(" + $keys + "::text[]) AS key, LATERAL (
                    SELECT at AT TIME ZONE 'UTC' AS at, id FROM audit
                    WHERE " + $expression + " = key
                      AND CASE WHEN in_scope(owner, repo, $1) AND ($6::text IS NULL OR subject = $6) AND ($7::text IS NULL OR action = $7)
                                    AND ($8::text IS NULL OR target = $8) THEN true ELSE false END
                      AND (at AT TIME ZONE 'UTC', id) < (coalesce($2::timestamptz, 'infinity') AT TIME ZONE 'UTC', coalesce($3::bigint, 0))
                      AND at AT TIME ZONE 'UTC' >= coalesce((SELECT at FROM bound), coalesce($4::timestamptz, '-infinity') AT TIME ZONE 'UTC')
                    ORDER BY at AT TIME ZONE 'UTC' DESC, id DESC LIMIT (SELECT $5::bigint)) AS page")+
             + ") AS pages ORDER BY at DESC, id DESC LIMIT $5"),
            $sample,
            $($argument),+
        )
    };
}

/// Only rows before this time and id.
type Before = Option<(DateTime<Utc>, i64)>;

impl Db {
    /// Lists actions on repositories in the scope, newest first. Actions without a repository are visible only to callers whose scope is all
    /// repositories.
    pub async fn audit(&self, scope: &Scope, filter: &AuditFilter) -> Result<Vec<AuditView>, DbError> {
        let mut before = filter.until.map(|until| (until, 0));
        if let Some(cursor) = filter.before {
            let Some(at) = self.audited_at(cursor).await? else { return Ok(Vec::new()) };
            before = Some(before.map_or((at, cursor), |until| until.min((at, cursor))));
        }
        match (&filter.target, scope.narrowed(None, None)) {
            (Some(target), _) => {
                let keys = std::slice::from_ref(target);
                Ok(newest!(self, scope, filter, before, filter.limit, ("target", "$10", keys))?)
            }
            (None, Narrowed::Keys(keys)) => self.audit_of(scope, filter, before, &keys).await,
            (None, _) => self.audit_of_all(scope, filter, before).await,
        }
    }

    async fn audit_of(
        &self,
        scope: &Scope,
        filter: &AuditFilter,
        before: Before,
        keys: &Keys,
    ) -> Result<Vec<AuditView>, DbError> {
        let count = i64::try_from(keys.repositories.len() + keys.owners.len()).unwrap_or(i64::MAX).max(1);
        let sample = (filter.limit + count - 1) / count;
        let named = filter.subject.as_deref().or(filter.action.map(Action::as_str));
        let with = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| named.map_or_else(|| name.clone(), |named| format!("{name} {named}"))).collect()
        };
        let (repositories, owners) = (with(&keys.repositories), with(&keys.owners));
        Ok(match (&filter.subject, filter.action) {
            (Some(_), _) => newest!(
                self,
                scope,
                filter,
                before,
                sample,
                (
                    "lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") || ' ' || subject",
                    "$10",
                    &repositories
                ),
                ("lower(owner COLLATE \"C\") || '/* ' || subject", "$11", &owners)
            )?,
            (None, Some(_)) => newest!(
                self,
                scope,
                filter,
                before,
                sample,
                (
                    "lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") || ' ' || action",
                    "$10",
                    &repositories
                ),
                ("lower(owner COLLATE \"C\") || '/* ' || action", "$11", &owners)
            )?,
            (None, None) => newest!(
                self,
                scope,
                filter,
                before,
                sample,
                ("lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\")", "$10", &repositories),
                ("lower(owner COLLATE \"C\") || '/*'", "$11", &owners)
            )?,
        })
    }

    async fn audit_of_all(
        &self,
        scope: &Scope,
        filter: &AuditFilter,
        before: Before,
    ) -> Result<Vec<AuditView>, DbError> {
        Ok(match (&filter.subject, filter.action) {
            (Some(subject), _) => {
                let keys = std::slice::from_ref(subject);
                newest!(self, scope, filter, before, filter.limit, ("subject", "$10", keys))?
            }
            (None, Some(action)) => {
                let keys = [action.as_str().to_owned()];
                newest!(self, scope, filter, before, filter.limit, ("action", "$10", &keys))?
            }
            (None, None) => page!(
                self, scope, filter, before,
                ("SELECT id FROM audit
                  WHERE CASE WHEN in_scope(owner, repo, $1) AND ($6::text IS NULL OR subject = $6) AND ($7::text IS NULL OR action = $7)
                             AND ($8::text IS NULL OR target = $8) THEN true ELSE false END
                    AND (at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::bigint, 0)) AND at >= coalesce($4::timestamptz, '-infinity')
                  ORDER BY at DESC, id DESC LIMIT (SELECT $5::bigint)")
            )?,
        })
    }

    /// Returns the time at which the row `id` was written, or that of the last row before it when it does not exist.
    async fn audited_at(&self, id: i64) -> Result<Option<DateTime<Utc>>, DbError> {
        Ok(sqlx::query_scalar!("SELECT at FROM audit WHERE id <= $1 ORDER BY id DESC LIMIT 1", id)
            .fetch_optional(&self.pool)
            .await?)
    }
}
