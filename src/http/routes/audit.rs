//! `GET /api/v1/audit`: lists changes and refusals. A change is recorded in its own transaction, a refusal by `middleware/audit_refusals`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::db::audit::{AuditFilter, AuditView};
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::{QueryParams, is_id};
use crate::http::pagination::{parse_limit, parse_time, split_page};
use crate::http::time;

/// Longest subject to filter by, in bytes.
const MAX_SUBJECT: usize = 256;

// ---- Request

/// Filters of the list; an entry must match all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only entries of this subject, such as a token's name.
    #[param(example = "alice")]
    pub subject: Option<String>,
    /// Only entries of this action: `deploy`, `switch`, `cancel`, `retry`, `outcome`, `connect.github`, `connect.aws`, `connection.renew`, `connection.remove`,
    /// `schedule.create`, `schedule.change`, `schedule.delete`, `schedule.run`, `schedule.stop`, `session.open`, `session.close`, `token.create`, `token.revoke`,
    /// `subject.revoke`, `subject.restore`, `keys.rotate`, `maintenance.run`, `log.set`, `log.reset`, and `mcp.` with the name of a tool of `/mcp`.
    #[param(example = "switch")]
    pub action: Option<String>,
    /// Only entries of the deployment, connection, schedule or token with this id.
    #[param(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub target: Option<String>,
    /// At or after this time (RFC 3339).
    #[param(example = "2026-01-01T00:00:00Z")]
    pub since: Option<String>,
    /// Before this time (RFC 3339).
    #[param(example = "2027-01-01T00:00:00Z")]
    pub until: Option<String>,
    /// Entries of the page, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "4711")]
    pub cursor: Option<String>,
}

impl AuditQuery {
    /// Checks the filters.
    ///
    /// # Errors
    /// The first invalid one.
    pub(in crate::http) fn filter(self) -> Result<AuditFilter, ApiError> {
        let is_valid = |text: &String| text.len() <= MAX_SUBJECT && !text.contains('\0');
        if self.subject.as_ref().is_some_and(|subject| !is_valid(subject)) {
            return Err(ApiError::field("subject", message!("rule.subject_filter", max = MAX_SUBJECT)));
        }
        if self.target.as_ref().is_some_and(|target| !is_id(target)) {
            return Err(ApiError::field("target", message!("rule.target_filter")));
        }
        let cursor = || ApiError::field("cursor", message!("rule.cursor"));
        let action = self.action.as_deref().map(str::parse).transpose();
        Ok(AuditFilter {
            subject: self.subject,
            action: action.map_err(|rule| ApiError::field("action", rule))?,
            target: self.target,
            since: parse_time("since", self.since.as_deref())?,
            until: parse_time("until", self.until.as_deref())?,
            before: self.cursor.map(|text| text.parse()).transpose().map_err(|_| cursor())?,
            limit: parse_limit(self.limit.as_deref())?,
        })
    }
}

// ---- Response

/// One page of audit entries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// Matching entries, newest first.
    pub entries: Vec<AuditEntry>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "4711")]
    pub next_cursor: Option<String>,
}

/// A change or refusal in the audit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Time of the change or refusal (UTC); of repetitions, the last.
    #[serde(serialize_with = "time::millis")]
    pub at: DateTime<Utc>,
    /// Number of refusals that the entry covers: repetitions within a minute share one entry. A change has its own entry.
    #[schema(example = 1)]
    pub times: i32,
    /// Time of the first repetition (UTC); null without repetitions.
    #[serde(serialize_with = "time::optional_millis")]
    pub first_at: Option<DateTime<Utc>>,
    /// Subject of the caller, such as a token's name; `*` in an entry for refusals of several callers.
    #[schema(example = "alice")]
    pub subject: String,
    /// Kind of authentication: `token`, `oidc`, `admin`, `nobody` (authentication is off), `operator` (the command line on the server),
    /// `schedule` (a scheduled time), `several` (see `subject`).
    #[schema(example = "token")]
    pub kind: String,
    /// Id of the API token; null without one.
    #[schema(example = "tok_4k1zq0v7w3m9x2c8b5n6")]
    pub token_id: Option<String>,
    /// Role of the caller at that time.
    #[schema(example = "approver")]
    pub role: String,
    /// Client address of the request; null for the command line on the server.
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
    /// `X-Request-Id` of the request; null for the command line on the server.
    #[schema(example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f")]
    pub request_id: Option<String>,
    /// Name of the requested action.
    #[schema(example = "switch")]
    pub action: String,
    /// Id of the deployment, connection, schedule or token concerned.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub target: Option<String>,
    /// Account or organisation of the repository concerned.
    #[schema(example = "acme")]
    pub owner: Option<String>,
    /// Name of the repository concerned.
    #[schema(example = "shop")]
    pub repo: Option<String>,
    /// Result of the request: `done` or `refused`.
    #[schema(example = "done")]
    pub result: String,
    /// Error code of a refusal.
    #[schema(example = "NOT_ALLOWED")]
    pub error_code: Option<String>,
    /// Further facts, depending on the action.
    #[schema(value_type = Object)]
    pub details: Value,
}

impl From<AuditView> for AuditEntry {
    fn from(row: AuditView) -> Self {
        Self {
            at: row.at,
            times: row.times,
            first_at: row.first_at,
            subject: row.subject,
            kind: row.kind,
            token_id: row.token_id,
            role: row.role,
            address: row.address,
            request_id: row.request_id,
            action: row.action,
            target: row.target,
            owner: row.owner,
            repo: row.repo,
            result: row.result,
            error_code: row.error_code,
            details: row.details,
        }
    }
}

// ---- Handler

/// List the audit
///
/// Returns every requested change with its caller, address and result. Refusals repeated within a minute share one entry with their number.
/// Requires the role admin; an admin with a limited scope sees only entries of that scope.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", operation_id = "audit",
    params(AuditQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<AuditPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    QueryParams(query): QueryParams<AuditQuery>,
) -> Result<Envelope<AuditPage>, ApiError> {
    let mut filter = query.filter()?;
    let wanted = filter.limit;
    // The extra row shows that another page exists.
    filter.limit += 1;
    let rows = state.db.audit(caller.scope(), &filter).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| row.id.to_string());
    let entries = rows.into_iter().map(AuditEntry::from).collect();
    Ok(Envelope::new("감사 기록 조회 성공", AuditPage { entries, next_cursor }))
}
