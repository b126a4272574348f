//! `GET /api/v1/audit`: who did what. What was done is kept with the change itself; what was refused, here.

mod refusals;

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{Admin, Allowed};
use super::deploy::list::{limit, page, time};
use super::envelope::Envelope;
use super::error::ApiError;
use super::extract::{QueryParams, is_id};
use super::problem::Problem;
use crate::db::audit::{AuditFilter, AuditView};
use crate::domain::audit::Action;
use crate::domain::principal::Caller;
use crate::domain::refusals::Refusal;
pub(super) use refusals::Refusals;

/// Longest subject that is asked for, in characters.
const MAX_SUBJECT: usize = 256;

/// How ids begin that a path may have.
const IDS: [&str; 5] = ["dep_", "sch_", "gh_", "aws_", "rev_"];

// ---- What was refused

/// Who asks, once that is known: left by whoever finds it out, for `keep_refusals`.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<OnceLock<Caller>>);

impl Asked {
    /// Notes it.
    pub fn is(&self, caller: &Caller) {
        let _ = self.0.set(caller.clone());
    }
}

/// Keeps what somebody asked to be changed and was refused, in bounded room (`domain/refusals`). Of those who did not sign in nothing is
/// known that would be worth a row that is kept for ever, and they could add any number.
pub(super) async fn keep_refusals(State(refusals): State<Refusals>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let action = route.and_then(|route| Action::of_request(request.method().as_str(), route));
    let Some(action) = action else { return next.run(request).await };
    let asked = Asked::default();
    request.extensions_mut().insert(asked.clone());
    // /api/v1/deploy/{id}/…, /api/v1/connect/github/{id}, …
    let ours = |id: &&str| is_id(id) && IDS.iter().any(|prefix| id.starts_with(prefix));
    let target = request.uri().path().split('/').skip(4).find(ours).map(str::to_owned);
    let response = next.run(request).await;
    let (Some(by), Some(problem)) = (asked.0.get(), response.extensions().get::<Problem>()) else { return response };
    if (400..500).contains(&problem.status) {
        let details = json!({"status": problem.status, "message": problem.detail});
        refusals.keep(Refusal { by: by.clone(), action, target, code: problem.error_code, details }).await;
    }
    response
}

// ---- What it takes

/// Which entries. All filters must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only of this subject: a token's name, for instance.
    #[param(example = "alice")]
    pub subject: Option<String>,
    /// Only this action: `deploy`, `switch`, `cancel`, `retry`, `connect.github`, `connect.aws`, `connection.renew`, `connection.remove`, `schedule.create`,
    /// `schedule.change`, `schedule.delete`, `schedule.run`, `schedule.stop`, `session.open`, `session.close`, `token.create`, `token.revoke`,
    /// `subject.revoke`, `subject.restore`, `keys.rotate`, `maintenance.run`, `log.set`, `log.reset`.
    #[param(example = "switch")]
    pub action: Option<String>,
    /// Only of this deployment, connection, schedule or token.
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
    /// The `nextCursor` of the page before.
    #[param(example = "4711")]
    pub cursor: Option<String>,
}

impl AuditQuery {
    fn filter(self) -> Result<AuditFilter, ApiError> {
        let fits = |text: &String| text.len() <= MAX_SUBJECT && !text.contains('\0');
        if self.subject.as_ref().is_some_and(|subject| !fits(subject)) {
            return Err(ApiError::field("subject", format!("must be a name of at most {MAX_SUBJECT} characters")));
        }
        if self.target.as_ref().is_some_and(|target| !is_id(target)) {
            return Err(ApiError::field("target", "must be the id of a deployment, connection, schedule or token"));
        }
        let cursor = || ApiError::field("cursor", "must be the nextCursor of a page before, unchanged");
        let action = self.action.as_deref().map(str::parse).transpose();
        Ok(AuditFilter {
            subject: self.subject,
            action: action.map_err(|rule: String| ApiError::field("action", rule))?,
            target: self.target,
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            before: self.cursor.map(|text| text.parse()).transpose().map_err(|_| cursor())?,
            limit: limit(self.limit.as_deref())?,
        })
    }
}

// ---- What it answers

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// What was asked for, newest first.
    pub entries: Vec<AuditEntry>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(example = "4711")]
    pub next_cursor: Option<String>,
}

/// A change that somebody asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When (UTC); of several, the last.
    pub at: DateTime<Utc>,
    /// How many refusals it stands for: repetitions within a minute are one entry. What was done is an entry each.
    #[schema(example = 1)]
    pub times: i32,
    /// When the first of several was (UTC); null when it is one.
    pub first_at: Option<DateTime<Utc>>,
    /// Who: a token's name, for instance; `*` in an entry that stands for refusals of several.
    #[schema(example = "alice")]
    pub subject: String,
    /// How they signed in: `token`, `oidc`, `admin`, `nobody` (authentication is off), `operator` (the command line on the server),
    /// `schedule` (by the clock), `several` (see `subject`).
    #[schema(example = "token")]
    pub kind: String,
    /// The API token, when it was one.
    #[schema(example = "tok_4k1zq0v7w3m9x2c8b5n6")]
    pub token_id: Option<String>,
    /// The role that they had.
    #[schema(example = "approver")]
    pub role: String,
    /// Where the request came from; null for the command line on the server.
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
    /// `X-Request-Id` of the request; null for the command line on the server.
    #[schema(example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f")]
    pub request_id: Option<String>,
    /// What.
    #[schema(example = "switch")]
    pub action: String,
    /// Of what: the id of a deployment, connection, schedule or token.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub target: Option<String>,
    /// Account or organisation of the repository concerned.
    #[schema(example = "acme")]
    pub owner: Option<String>,
    /// Repository concerned.
    #[schema(example = "shop")]
    pub repo: Option<String>,
    /// `done` or `refused`.
    #[schema(example = "done")]
    pub result: String,
    /// Why it was refused.
    #[schema(example = "NOT_ALLOWED")]
    pub error_code: Option<String>,
    /// More of it.
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

// ---- The handler

/// Who did what
///
/// Every change that somebody asked for: by whom, from where, and what became of it. Refusals that are repeated within a minute are one entry that
/// says how many. For admins; those who see some repositories see what concerns
/// these.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", operation_id = "audit",
    params(AuditQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<AuditPage>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
    QueryParams(query): QueryParams<AuditQuery>,
) -> Result<Envelope<AuditPage>, ApiError> {
    let mut filter = query.filter()?;
    let wanted = filter.limit;
    // One more than wanted tells whether there is another page.
    filter.limit += 1;
    let rows = state.db.audit(caller.scope(), &filter).await?;
    let (rows, next_cursor) = page(rows, wanted, |row| row.id.to_string());
    let entries = rows.into_iter().map(AuditEntry::from).collect();
    Ok(Envelope::new("감사 기록 조회 성공", AuditPage { entries, next_cursor }))
}
