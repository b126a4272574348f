//! `/api/v1/freezes`: times in which deployments are not started, or not switched.

pub mod create;
pub mod error;
pub mod lift;
pub mod list;
pub mod path;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::freezes::FreezeView;
use crate::http::time;

/// A freeze, with its state by the database's clock.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Freeze)]
pub struct ShownFreeze {
    /// Id for `DELETE /api/v1/freezes/{id}`.
    #[schema(example = "frz_4k1zq0v7w3m9x2c8b5n6")]
    pub freeze_id: String,
    /// Deployments that it concerns: `all`, `account:ID`, `region:NAME`, `owner:NAME` or `repository:OWNER/NAME`.
    #[schema(example = "repository:acme/shop")]
    pub scope: String,
    /// Acts that it holds: `starts`, `switches` or `both`.
    #[schema(example = "both")]
    pub holds: String,
    /// Reason in the words of its author.
    #[schema(example = "Christmas sale")]
    pub reason: String,
    /// Caller who created it.
    #[schema(example = "alice")]
    pub created_by: String,
    /// Time of its creation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Time from which on it holds (UTC).
    #[serde(serialize_with = "time::millis")]
    pub starts_at: DateTime<Utc>,
    /// Time until which it holds, unless it is lifted before (UTC).
    #[serde(serialize_with = "time::millis")]
    pub ends_at: DateTime<Utc>,
    /// `pending`, `in_force`, `ended` or `lifted`.
    #[schema(example = "in_force")]
    pub state: String,
    /// Time at which it was lifted (UTC); null otherwise.
    #[serde(serialize_with = "time::optional_millis")]
    pub lifted_at: Option<DateTime<Utc>>,
    /// Caller who lifted it; null otherwise.
    #[schema(example = "bob")]
    pub lifted_by: Option<String>,
}

impl From<FreezeView> for ShownFreeze {
    fn from(row: FreezeView) -> Self {
        Self {
            freeze_id: row.id,
            scope: row.scope,
            holds: row.holds,
            reason: row.reason,
            created_by: row.created_by,
            created_at: row.created_at,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            state: row.state,
            lifted_at: row.lifted_at,
            lifted_by: row.lifted_by,
        }
    }
}
