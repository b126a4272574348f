//! A freeze as templates show it.

use chrono::{DateTime, Utc};

use crate::commands::freezes::require_admin_of;
use crate::db::freezes::FreezeView;
use crate::domain::freeze::{FreezeScope, MAX_PENDING};
use crate::domain::principal::Caller;
use crate::domain::text::visible;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::page::context::Page;

/// Freezes in force that a notice names; the view of freezes has all.
const NOTICED: usize = 3;

/// A freeze of the list, or of a notice.
pub struct FreezeRow {
    /// Id, for the button that lifts it.
    pub id: String,
    /// `all`, `account`, `region`, `owner` or `repository`.
    pub kind: &'static str,
    /// What the kind names; none for `all`.
    pub name: Option<String>,
    /// `starts`, `switches` or `both`.
    pub holds: String,
    /// `pending`, `in_force`, `ended` or `lifted`.
    pub state: String,
    pub reason: String,
    pub created_by: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// When it was lifted, and by whom.
    pub lifted: Option<(DateTime<Utc>, String)>,
    /// The caller may lift it now.
    pub may_lift: bool,
}

impl FreezeRow {
    /// Prepares a freeze for templates; `caller` decides whether it may be lifted.
    pub fn of(page: &Page, row: FreezeView, caller: &Caller) -> Self {
        let scope: Option<FreezeScope> = row.scope.parse().ok();
        let (kind, name) = scope.as_ref().map_or(("all", Some(row.scope.clone())), FreezeScope::parts);
        let may_lift = scope.is_some_and(|scope| require_admin_of(caller, &scope).is_ok());
        let lifted = row.lifted_at.map(|at| (at, page.author(&row.lifted_by.unwrap_or_default())));
        Self {
            may_lift,
            kind,
            name,
            id: row.id,
            holds: row.holds,
            reason: visible(&row.reason),
            created_by: page.author(&row.created_by),
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            lifted,
            state: row.state,
        }
    }

    /// True while it holds deployments.
    pub fn is_in_force(&self) -> bool {
        self.state == "in_force"
    }
}

/// The freezes that a notice above deployments shows.
pub struct FreezeNotice {
    /// Those in force, the one that ends last first.
    pub rows: Vec<FreezeRow>,
    /// Number of those in force that are not shown.
    pub others: usize,
    /// Number of those to come.
    pub coming: usize,
}

impl FreezeNotice {
    /// Reads the freezes that concern the caller's scope.
    ///
    /// # Errors
    /// The database failed.
    pub async fn read(state: &ApiState, page: &Page, caller: &Caller) -> Result<Self, ApiError> {
        let pending = state.db.freezes(caller.scope(), Some(true), None, MAX_PENDING).await?;
        let rows: Vec<FreezeRow> = pending.into_iter().map(|row| FreezeRow::of(page, row, caller)).collect();
        let (mut rows, coming): (Vec<_>, Vec<_>) = rows.into_iter().partition(FreezeRow::is_in_force);
        rows.sort_by_key(|row| std::cmp::Reverse(row.ends_at));
        let others = rows.len().saturating_sub(NOTICED);
        rows.truncate(NOTICED);
        Ok(Self { rows, others, coming: coming.len() })
    }
}
