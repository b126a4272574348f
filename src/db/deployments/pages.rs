//! Pages of deployments, newest first, read from indexes alone: `docs/decisions/0045-scopes-are-index-keys.md`.
//!
//! Each key of the scope, combined with each status, is the beginning of an index. As many of its newest rows are read from there as the page has,
//! and the newest of all of them are the page. The limit of these reads is a subquery, so that the planner does not know its value: under any
//! estimate for a key, reading in index order is cheapest then.

use sqlx::types::Json;

use super::{DeploymentView, ListFilter};
use crate::db::{Db, DbError};
use crate::domain::deployment::{Facts, Status};
use crate::domain::labels::Labels;
use crate::domain::policy::Policy;
use crate::domain::principal::Scope;
use crate::domain::scope_keys::{Keys, Narrowed};

/// Selects the page of rows whose `expression`, the beginning of an index, is one of `keys`: $7, and with a second expression $8. The other
/// parameters are $2 and $3, the time and id to be before, $4, the start time, $5, the page size, and $6, the sample size.
///
/// A hundred keys would read a hundred pages. So a small sample of each key is read first: the last row of the page is not older than the
/// page-size-th row of the samples.
macro_rules! newest {
    ($db:expr, $scope:expr, $range:expr, $(($expression:tt, $keys:tt, $argument:expr)),+) => {
        views!(
            ("id = ANY (ARRAY(
                WITH bound AS (
                    SELECT at FROM (
                        SELECT NULL::timestamp AS at WHERE false"
                        $(+ " UNION ALL
                        SELECT sample.at FROM unnest(" + $keys + "::text[]) AS key, LATERAL (
                            SELECT started_at AT TIME ZONE 'UTC' AS at FROM deployments
                            WHERE " + $expression + " = key
                              AND (started_at AT TIME ZONE 'UTC', id) < (coalesce($2::timestamptz, 'infinity') AT TIME ZONE 'UTC', coalesce($3::text, ''))
                              AND started_at AT TIME ZONE 'UTC' >= coalesce($4::timestamptz, '-infinity') AT TIME ZONE 'UTC'
                            ORDER BY started_at AT TIME ZONE 'UTC' DESC, id DESC LIMIT (SELECT $6::bigint)) AS sample")+
                    + ") AS samples ORDER BY at DESC OFFSET $5::bigint - 1 LIMIT 1
                )
                SELECT id FROM (
                    SELECT NULL::timestamp AS at, NULL::text AS id WHERE false"
                    $(+ " UNION ALL
                    SELECT page.at, page.id FROM unnest(" + $keys + "::text[]) AS key, LATERAL (
                        SELECT started_at AT TIME ZONE 'UTC' AS at, id FROM deployments
                        WHERE " + $expression + " = key
                          AND (started_at AT TIME ZONE 'UTC', id) < (coalesce($2::timestamptz, 'infinity') AT TIME ZONE 'UTC', coalesce($3::text, ''))
                          AND started_at AT TIME ZONE 'UTC' >= coalesce((SELECT at FROM bound), coalesce($4::timestamptz, '-infinity') AT TIME ZONE 'UTC')
                        ORDER BY started_at AT TIME ZONE 'UTC' DESC, id DESC LIMIT (SELECT $5::bigint)) AS page")+
                + ") AS pages ORDER BY at DESC, id DESC LIMIT $5))"),
            $scope.sql(),
            $range.before.as_ref().map(|(at, _)| *at) as Option<chrono::DateTime<chrono::Utc>>,
            $range.before.as_ref().map(|(_, id)| id.as_str()) as Option<&str>,
            $range.since as Option<chrono::DateTime<chrono::Utc>>,
            $range.limit,
            $range.sample,
            $($argument),+
        )
        .fetch_all(&$db.pool)
        .await
    };
}

/// Range and number of rows for each key.
struct Range {
    /// Only rows before this time and id.
    before: Option<(chrono::DateTime<chrono::Utc>, String)>,
    since: Option<chrono::DateTime<chrono::Utc>>,
    limit: i64,
    /// Sample size for each key: enough for a page if every key has as many rows.
    sample: i64,
}

impl Range {
    fn of(filter: &ListFilter, keys: usize) -> Self {
        // No row precedes the empty id, so rows started exactly at `until` are excluded.
        let until = filter.until.map(|until| (until, String::new()));
        let before = match (filter.before.clone(), until) {
            (Some(before), Some(until)) => Some(before.min(until)),
            (before, until) => before.or(until),
        };
        let keys = i64::try_from(keys).unwrap_or(i64::MAX).max(1);
        Self { before, since: filter.since, limit: filter.limit, sample: (filter.limit + keys - 1) / keys }
    }
}

impl Db {
    /// Lists deployments, newest first.
    pub async fn list_deployments(&self, scope: &Scope, filter: &ListFilter) -> Result<Vec<DeploymentView>, DbError> {
        let keys = match scope.narrowed(filter.owner.as_deref(), filter.repo.as_deref()) {
            Narrowed::All if filter.branch.is_none() => None,
            Narrowed::All => Some(Keys::of(&self.owners().await?, None)),
            Narrowed::Named(repo) => Some(Keys::of(&self.owners().await?, Some(&repo))),
            Narrowed::Keys(keys) => Some(keys),
        };
        let mut statuses = if filter.statuses.is_empty() { Status::ALL.to_vec() } else { filter.statuses.clone() };
        statuses.sort_unstable_by_key(|status| status.as_str());
        statuses.dedup();
        Ok(match keys {
            None => {
                let range = Range::of(filter, 1);
                let statuses: Vec<String> = statuses.iter().map(|status| status.as_str().to_owned()).collect();
                newest!(self, scope, range, ("status", "$7", &statuses))?
            }
            Some(keys) => self.newest_of(scope, filter, &keys, &statuses).await?,
        })
    }

    async fn newest_of(
        &self,
        scope: &Scope,
        filter: &ListFilter,
        keys: &Keys,
        statuses: &[Status],
    ) -> Result<Vec<DeploymentView>, DbError> {
        let range = Range::of(filter, keys.repositories.len() + keys.owners.len());
        let with = |names: &[String]| with_statuses(names, statuses, filter.branch.as_deref());
        let (repositories, owners) = (with(&keys.repositories), with(&keys.owners));
        Ok(match filter.branch {
            None => newest!(
                self,
                scope,
                range,
                (
                    "lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") || ' ' || status",
                    "$7",
                    &repositories
                ),
                ("lower(owner COLLATE \"C\") || '/* ' || status", "$8", &owners)
            )?,
            Some(_) => newest!(
                self,
                scope,
                range,
                (
                    "lower(owner COLLATE \"C\") || '/' || lower(repo COLLATE \"C\") || ' ' || status || ' ' || branch",
                    "$7",
                    &repositories
                ),
                ("lower(owner COLLATE \"C\") || '/* ' || status || ' ' || branch", "$8", &owners)
            )?,
        })
    }

    /// Returns the newest unfinished deployment.
    pub async fn current_deployment(&self, scope: &Scope) -> Result<Option<DeploymentView>, DbError> {
        let statuses = vec![Status::Running, Status::DeploymentReady];
        let filter = ListFilter { statuses, limit: 1, ..ListFilter::default() };
        Ok(self.list_deployments(scope, &filter).await?.pop())
    }

    /// Lists the owners of all deployments, each as `owner/*`: one index lookup for each owner and status.
    async fn owners(&self) -> Result<Vec<String>, DbError> {
        let keys = sqlx::query_scalar!(
            "WITH RECURSIVE keys AS (
                (SELECT lower(owner COLLATE \"C\") || '/* ' || status AS key FROM deployments
                 ORDER BY lower(owner COLLATE \"C\") || '/* ' || status LIMIT 1)
                UNION ALL
                SELECT (SELECT lower(owner COLLATE \"C\") || '/* ' || status FROM deployments
                        WHERE lower(owner COLLATE \"C\") || '/* ' || status > keys.key
                        ORDER BY lower(owner COLLATE \"C\") || '/* ' || status LIMIT 1)
                FROM keys WHERE keys.key IS NOT NULL
             )
             SELECT DISTINCT split_part(key, ' ', 1) AS \"owner!\" FROM keys WHERE key IS NOT NULL"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(keys)
    }
}

/// Builds the index keys for `names`: each name with each status, and the branch if given.
fn with_statuses(names: &[String], statuses: &[Status], branch: Option<&str>) -> Vec<String> {
    let mut keys = Vec::with_capacity(names.len() * statuses.len());
    for name in names {
        for status in statuses {
            keys.push(match branch {
                None => format!("{name} {}", status.as_str()),
                Some(branch) => format!("{name} {} {branch}", status.as_str()),
            });
        }
    }
    keys
}
