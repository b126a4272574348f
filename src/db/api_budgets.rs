//! The token buckets of calls to AWS that all replicas share (`api_budgets`), by the database's clock.
//!
//! One statement takes slices of all buckets that a replica needs. It runs on the connections for the reconciler, because calls of steps wait for it; a
//! replica has one such statement at a time, so that at least one connection is left to commits.

use std::time::Duration;

use sqlx::types::Uuid;

use super::{Db, DbError};
use crate::domain::api_budget::{BudgetStore, SliceRequest, Slices};

/// Time in which a bucket that throttling has shrunk grows back to its full size.
const RECOVERY: Duration = Duration::from_mins(10);

/// Time after which another throttled call shrinks a bucket again: calls that were sent together are throttled together.
const SHRINK_INTERVAL: Duration = Duration::from_secs(2);

/// Smallest part of a bucket that throttling leaves.
const SMALLEST_SHARE: f64 = 1.0 / 16.0;

/// Time after which a row that no replica used is removed: its bucket is full again, and its size restored.
const UNUSED: Duration = Duration::from_hours(24);

/// The shared buckets, as one process uses them.
#[derive(Clone, Debug)]
pub struct ApiBudgets {
    db: Db,
    /// Names this process among those whose polls wait.
    process: String,
}

impl Db {
    /// Returns the shared budgets of calls to AWS.
    pub fn api_budgets(&self) -> ApiBudgets {
        ApiBudgets { db: self.clone(), process: Uuid::new_v4().simple().to_string() }
    }

    /// Removes buckets that were not used for a day. Returns their number.
    pub async fn delete_unused_api_budgets(&self) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM api_budgets WHERE refilled_at < clock_timestamp() - make_interval(secs => $1)",
            UNUSED.as_secs_f64()
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected())
    }
}

impl ApiBudgets {
    /// Takes slices, and creates the buckets that do not exist yet.
    async fn slices(&self, requests: &[SliceRequest]) -> Result<Vec<u32>, DbError> {
        if let Some(granted) = self.take_existing(requests).await? {
            return Ok(granted);
        }
        self.create(requests).await?;
        let granted = self.take_existing(requests).await?;
        granted.ok_or_else(|| DbError::corrupt("a bucket of `api_budgets` disappears"))
    }

    /// Returns none, without an effect that matters, when a bucket does not exist.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tokens are between 0 and 1,000,000")]
    async fn take_existing(&self, requests: &[SliceRequest]) -> Result<Option<Vec<u32>>, DbError> {
        let texts = |text: fn(&SliceRequest) -> &String| -> Vec<String> {
            requests.iter().map(|request| text(request).clone()).collect()
        };
        let numbers = |number: fn(&SliceRequest) -> f64| -> Vec<f64> { requests.iter().map(number).collect() };
        let throttled: Vec<bool> = requests.iter().map(|request| request.throttled).collect();
        let rows = sqlx::query_file!(
            "src/db/api_budgets.sql",
            &texts(|request| &request.key.account),
            &texts(|request| &request.key.region),
            &texts(|request| &request.key.call),
            &numbers(|request| request.quota.burst),
            &numbers(|request| request.quota.per_second),
            &numbers(|request| f64::from(request.first)),
            &numbers(|request| f64::from(request.polls)),
            &numbers(|request| f64::from(request.spare)),
            &throttled,
            self.process,
            RECOVERY.as_secs_f64(),
            SHRINK_INTERVAL.as_secs_f64(),
            SMALLEST_SHARE
        )
        .fetch_all(&self.db.pool)
        .await?;
        let mut granted = vec![None; requests.len()];
        for row in rows {
            let place = usize::try_from(row.place - 1).ok().and_then(|place| granted.get_mut(place));
            if let Some(place) = place {
                *place = Some(row.granted as u32);
            }
        }
        Ok(granted.into_iter().collect())
    }

    async fn create(&self, requests: &[SliceRequest]) -> Result<(), DbError> {
        for request in requests {
            let key = &request.key;
            sqlx::query!(
                "INSERT INTO api_budgets (account_id, region, call, tokens) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                key.account,
                key.region,
                key.call,
                request.quota.burst
            )
            .execute(&self.db.pool)
            .await?;
        }
        Ok(())
    }
}

impl BudgetStore for ApiBudgets {
    fn take<'a>(&'a self, requests: &'a [SliceRequest]) -> Slices<'a> {
        Box::pin(async move { self.slices(requests).await.map_err(|error| error.to_string()) })
    }
}
