//! Freezes. Which one holds a deployment is a rule of `domain/freeze`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Db, DbError, policies};
use crate::domain::freeze::{Act, Freeze, FreezeScope, Holds, PendingFreezes, Place};
use crate::domain::hold::Hold;
use crate::domain::policy::Policy;
use crate::domain::principal::Scope;

/// A freeze as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct FreezeView {
    pub id: String,
    pub scope: String,
    pub holds: String,
    pub reason: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub lifted_at: Option<DateTime<Utc>>,
    pub lifted_by: Option<String>,
    /// `pending`, `in_force`, `ended` or `lifted`, by the database's clock.
    pub state: String,
}

/// Values of a new row.
#[derive(Clone, Debug)]
pub struct NewFreeze {
    /// Id, with the prefix `frz_`.
    pub id: String,
    /// Deployments that it concerns.
    pub scope: FreezeScope,
    /// Acts that it holds.
    pub holds: Holds,
    /// Reason in the words of its author.
    pub reason: String,
    /// Its beginning and its end.
    pub period: (DateTime<Utc>, DateTime<Utc>),
}

/// Selects a `FreezeView` for each row that a scope shows and that matches the condition, given in pieces, newest first. A caller of some repositories
/// sees the freezes that may concern these: of an AWS account, if a connection to it is theirs.
macro_rules! views {
    (($($condition:tt)+), $limit:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            FreezeView,
            "SELECT id, scope, holds, reason, created_by, created_at, starts_at, ends_at, lifted_at, lifted_by,
                    CASE WHEN lifted_at IS NOT NULL THEN 'lifted' WHEN ends_at <= clock_timestamp() THEN 'ended'
                         WHEN starts_at <= clock_timestamp() THEN 'in_force' ELSE 'pending' END AS \"state!\"
             FROM freezes f
             WHERE ($1::text[] IS NULL OR scope = 'all' OR scope LIKE 'region:%'
                    OR (scope LIKE 'repository:%'
                        AND in_scope(split_part(substr(scope, 12), '/', 1), split_part(substr(scope, 12), '/', 2), $1))
                    OR EXISTS (SELECT FROM unnest($1::text[]) AS mine WHERE f.scope = 'owner:' || split_part(mine, '/', 1))
                    OR EXISTS (SELECT FROM aws_connections c, unnest(c.scope) AS its, unnest($1::text[]) AS mine
                               WHERE f.scope = 'account:' || c.account_id AND c.removed_at IS NULL
                                 AND (its = mine OR (split_part(its, '/', 1) = split_part(mine, '/', 1)
                                                     AND '*' IN (split_part(its, '/', 2), split_part(mine, '/', 2))))))
               AND " + $($condition)+ + "
             ORDER BY created_at DESC, id DESC LIMIT " + $limit,
            $($argument),+
        )
    };
}

impl Db {
    /// Lists the freezes that the scope shows, newest first: with `pending`, only those in force or to come, or only the others.
    pub async fn freezes(
        &self,
        scope: &Scope,
        pending: Option<bool>,
        before: Option<(DateTime<Utc>, String)>,
        limit: i64,
    ) -> Result<Vec<FreezeView>, DbError> {
        let (before_at, before_id) = before.unzip();
        Ok(views!(
            ("($2::boolean IS NULL OR $2 = (lifted_at IS NULL AND ends_at > clock_timestamp()))
               AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))"),
            "$5",
            scope.sql(),
            pending,
            before_at,
            before_id,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns the freezes in force or to come.
    pub async fn pending_freezes(&self) -> Result<PendingFreezes, DbError> {
        pending(&mut *self.pool.acquire().await?).await
    }
}

/// Returns the freezes in force or to come, within the caller's transaction, at the time of the statement.
pub async fn pending(connection: &mut PgConnection) -> Result<PendingFreezes, DbError> {
    let now = sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"").fetch_one(&mut *connection).await?;
    let rows = sqlx::query!(
        "SELECT id, scope, holds, reason, created_by, starts_at, ends_at FROM freezes WHERE lifted_at IS NULL AND ends_at > $1",
        now
    )
    .fetch_all(connection)
    .await?;
    let mut pending = PendingFreezes { now, freezes: Vec::new() };
    for row in rows {
        pending.freezes.push(Freeze {
            id: row.id,
            scope: row.scope.parse().map_err(DbError::corrupt)?,
            holds: row.holds.parse().map_err(DbError::corrupt)?,
            reason: row.reason,
            created_by: row.created_by,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
        });
    }
    Ok(pending)
}

/// Returns what holds a start at a place: a freeze, else the windows of the policy in force.
pub async fn hold_of_start(connection: &mut PgConnection, place: &Place) -> Result<Option<Hold>, DbError> {
    let policy = policies::in_force(connection, place).await?;
    Ok(Hold::of(&pending(connection).await?, place, Act::Start, policy.as_ref()))
}

/// Returns the database's time, and the number of freezes in force or to come. Concurrent creations wait for each other.
pub async fn count_pending(connection: &mut PgConnection) -> Result<(DateTime<Utc>, i64), DbError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('panda freezes', 0)) AS \"locked: _\"")
        .execute(&mut *connection)
        .await?;
    let counted = sqlx::query!(
        "SELECT clock_timestamp() AS \"now!\",
                (SELECT count(*) FROM freezes WHERE lifted_at IS NULL AND ends_at > clock_timestamp()) AS \"pending!\""
    )
    .fetch_one(connection)
    .await?;
    Ok((counted.now, counted.pending))
}

/// Inserts the row of a new freeze, in the name of its author.
pub async fn insert(connection: &mut PgConnection, new: &NewFreeze, created_by: &str) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO freezes (id, scope, holds, reason, created_by, starts_at, ends_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.id,
        new.scope.to_string(),
        new.holds.as_str(),
        new.reason,
        created_by,
        new.period.0,
        new.period.1
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a freeze that the scope shows, within the caller's transaction.
pub async fn find(connection: &mut PgConnection, scope: &Scope, id: &str) -> Result<Option<FreezeView>, DbError> {
    Ok(views!(("id = $2"), "1", scope.sql(), id).fetch_optional(connection).await?)
}

/// Lifts a freeze that has not ended; false for any other.
pub async fn lift(connection: &mut PgConnection, id: &str, lifted_by: &str) -> Result<bool, DbError> {
    let lifted = sqlx::query!(
        "UPDATE freezes SET lifted_at = clock_timestamp(), lifted_by = $2
         WHERE id = $1 AND lifted_at IS NULL AND ends_at > clock_timestamp()",
        id,
        lifted_by
    )
    .execute(connection)
    .await?;
    Ok(lifted.rows_affected() == 1)
}

/// A deployment as freezes concern it.
#[derive(Clone, Debug)]
pub struct FreezeSubject {
    /// Repository, account and region, by which freezes concern it.
    pub place: Place,
    /// No freeze holds it.
    pub rolls_back: bool,
    /// Its switch was requested already.
    pub switch_requested: bool,
    /// The policy with which the attempt started.
    pub policy: Option<Policy>,
}

/// Returns a deployment as freezes concern it; none when it does not exist.
pub async fn subject(connection: &mut PgConnection, id: &str) -> Result<Option<FreezeSubject>, DbError> {
    let row = sqlx::query!(
        "SELECT owner, repo, account_id, region, rolls_back, switch_requested_at IS NOT NULL AS \"switch_requested!\",
                policy AS \"policy: Json<Policy>\"
         FROM deployments WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| FreezeSubject {
        place: Place { owner: row.owner, repo: row.repo, account_id: row.account_id, region: row.region },
        rolls_back: row.rolls_back,
        switch_requested: row.switch_requested,
        policy: row.policy.map(|policy| policy.0),
    }))
}
