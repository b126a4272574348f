//! `GET /api/v1/hooks/{id}/deliveries`: what a push hook received, newest first, in pages.

pub mod redelivery;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::path::PushHookPath;
use crate::commands::push_hooks::show;
use crate::db::push_hooks::deliveries::PushDeliveryView;
use crate::domain::lang::Lang;
use crate::domain::message::{Message, message};
use crate::domain::principal::Caller;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::language::{AskedLang, Labelled};
use crate::http::pagination::{PageQuery, encode_cursor, split_page};
use crate::http::time;

// ---- Request

/// Filter and page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PushDeliveriesQuery {
    /// `started`, `ignored` or `rejected`; all when absent.
    #[param(example = "rejected")]
    pub decision: Option<String>,
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

// ---- Response

/// A received delivery with its decision.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PushDelivery)]
pub struct ShownPushDelivery {
    /// `X-GitHub-Delivery`, by which GitHub's list of recent deliveries names it.
    #[schema(example = "72d3162e-cc78-11e3-81ab-4c9367dc0958")]
    pub delivery_id: String,
    /// True if the signature was valid. Of the others, twenty an hour are listed; the last of them counts the rest in `attempts`.
    pub verified: bool,
    /// Event by the header `X-GitHub-Event`.
    #[schema(example = "push")]
    pub event: String,
    /// Repository of the payload; null without one.
    #[schema(example = "acme/shop")]
    pub repository: Option<String>,
    /// Ref that was pushed; null for other events.
    #[serde(rename = "ref")]
    #[schema(example = "refs/heads/main")]
    pub ref_name: Option<String>,
    /// Commit that was pushed; null for other events, and where the push deleted the ref.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit: Option<String>,
    /// Time at which it was first received (UTC).
    #[serde(serialize_with = "time::millis")]
    pub received_at: DateTime<Utc>,
    /// Time of the decision, the last one after a redelivery (UTC).
    #[serde(serialize_with = "time::millis")]
    pub decided_at: DateTime<Utc>,
    /// `started` (a deployment), `ignored` (the rules want none) or `rejected` (signature, payload, permission or target).
    #[schema(example = "started")]
    pub decision: String,
    /// Reason of the decision, for programs.
    #[schema(example = "RULE_MATCHED")]
    pub reason_code: String,
    /// Reason of the decision, for people.
    #[schema(example = "Rule 1 of the hook matches.")]
    pub reason: String,
    /// The deployment that it started; null for none.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: Option<String>,
    /// Number of decisions: one more for each redelivery.
    pub attempts: i32,
}

impl ShownPushDelivery {
    /// The reason is in `lang`, English where the request names no language.
    pub(in crate::http) fn new(row: PushDeliveryView, lang: Option<Lang>) -> Self {
        // A newer version may have stored a text that this one does not know.
        let reason = Message::from_json(&row.reason_text).map(|text| text.text(lang.unwrap_or(Lang::En)));
        Self {
            delivery_id: row.delivery_id.to_string(),
            verified: row.verified,
            event: row.event,
            repository: row.repository,
            ref_name: row.ref_name,
            commit: row.commit_id,
            received_at: row.received_at,
            decided_at: row.decided_at,
            decision: row.decision,
            reason: reason.unwrap_or_else(|| row.reason_code.clone()),
            reason_code: row.reason_code,
            deployment_id: row.deployment_id,
            attempts: row.attempts,
        }
    }
}

/// One page of the list of received deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushDeliveryPage {
    /// Deliveries of the page, newest first.
    pub deliveries: Vec<ShownPushDelivery>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List deliveries of a push hook
///
/// What GitHub sent, with the decision and its reason. Kept for 30 days. Requires the role admin of the hook's repositories.
#[utoipa::path(
    get, path = "/api/v1/hooks/{id}/deliveries", tag = "hooks", operation_id = "listPushDeliveries",
    params(("id" = String, Path, description = "Id of the push hook.", example = "hok_4k1zq0v7w3m9x2c8b5n6"), PushDeliveriesQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<PushDeliveryPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    PushHookPath { id, .. }: PushHookPath,
    QueryParams(query): QueryParams<PushDeliveriesQuery>,
    lang: AskedLang,
) -> Result<Labelled<Envelope<PushDeliveryPage>>, ApiError> {
    let lang = lang.texts();
    let page = page(&state, &id, (query, lang), &caller).await?;
    Ok(Labelled { lang, body: Envelope::new("푸시 수신 목록 조회 성공", page) })
}

/// Reads a page of a push hook's deliveries, with reasons in this language.
pub(in crate::http) async fn page(
    state: &ApiState,
    id: &str,
    (query, lang): (PushDeliveriesQuery, Option<Lang>),
    caller: &Caller,
) -> Result<PushDeliveryPage, ApiError> {
    let decision = query.decision;
    if decision.as_deref().is_some_and(|decision| !["started", "ignored", "rejected"].contains(&decision)) {
        let rule = message!("rule.expected", expected = "started, ignored or rejected");
        return Err(ApiError::field("decision", rule));
    }
    let (wanted, before) = PageQuery { limit: query.limit, cursor: query.cursor }.validate()?;
    let unknown = |_| ApiError::field("cursor", message!("rule.cursor"));
    let before = before.map(|(at, id)| Ok::<_, ApiError>((at, id.parse().map_err(unknown)?))).transpose()?;
    show(&state.db, id, caller).await?;
    let rows = state.db.push_deliveries(id, decision.as_deref(), before, wanted + 1).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.received_at, &row.id.to_string()));
    let deliveries = rows.into_iter().map(|row| ShownPushDelivery::new(row, lang)).collect();
    Ok(PushDeliveryPage { deliveries, next_cursor })
}
