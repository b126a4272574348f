//! `GET /api/v1/webhooks/{id}/deliveries`: deliveries that did not succeed at the first attempt, newest first, in pages.

pub mod replay;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::path::WebhookPath;
use crate::commands::receivers::show;
use crate::db::receivers::DeliveryView;
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::{PageQuery, encode_cursor, split_page};
use crate::http::time;

// ---- Request

/// Filter and page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// `open` (pending and waiting), `dead` or `delivered`; all when absent.
    #[param(example = "dead")]
    pub state: Option<String>,
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

// ---- Response

/// A delivery that did not succeed at the first attempt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookDelivery)]
pub struct ShownDelivery {
    /// Id of the event, which is the header `webhook-id` of each attempt.
    #[schema(example = "01970000-0000-7000-8000-000000000000")]
    pub delivery_id: String,
    /// Deployment of the event.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// Sequence number of the event in the deployment.
    pub sequence: i64,
    /// `pending` (tried again), `waiting` (behind a pending one of its deployment), `delivered` or `dead` (the last attempt failed).
    #[schema(example = "dead")]
    pub state: String,
    /// Failed attempts since the last replay.
    pub attempts: i32,
    /// Time of the next attempt (UTC); null unless pending.
    #[serde(serialize_with = "time::optional_millis")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Status of the last answer; null without one.
    #[schema(example = 503)]
    pub last_status: Option<i32>,
    /// Reason for which the last attempt failed; null otherwise.
    #[schema(example = "status 503")]
    pub last_error: Option<String>,
    /// Time at which the first attempt had failed, or it began to wait (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Time at which it last changed (UTC).
    #[serde(serialize_with = "time::millis")]
    pub changed_at: DateTime<Utc>,
}

impl From<DeliveryView> for ShownDelivery {
    fn from(row: DeliveryView) -> Self {
        Self {
            delivery_id: row.event_id.to_string(),
            deployment_id: row.deployment_id,
            sequence: row.seq,
            state: row.state,
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            last_status: row.last_status,
            last_error: row.last_error,
            created_at: row.created_at,
            changed_at: row.changed_at,
        }
    }
}

/// One page of the list of deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryPage {
    /// Deliveries of the page, newest first.
    pub deliveries: Vec<ShownDelivery>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List deliveries of a webhook
///
/// Those that did not succeed at the first attempt; `delivered` of the webhook counts the others as well. Ended ones are kept for 30 days. Requires the
/// role admin of the webhook's repositories.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "listWebhookDeliveries",
    params(("id" = String, Path, description = "Id of the webhook.", example = "whk_4k1zq0v7w3m9x2c8b5n6"), DeliveriesQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<DeliveryPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    WebhookPath { id, .. }: WebhookPath,
    QueryParams(query): QueryParams<DeliveriesQuery>,
) -> Result<Envelope<DeliveryPage>, ApiError> {
    let page = page(&state, (ReceiverFamily::Webhooks, &id), query, &caller).await?;
    Ok(Envelope::new("웹훅 전송 목록 조회 성공", page))
}

/// Reads a page of a receiver's deliveries.
pub(in crate::http) async fn page(
    state: &ApiState,
    (family, id): (ReceiverFamily, &str),
    query: DeliveriesQuery,
    caller: &Caller,
) -> Result<DeliveryPage, ApiError> {
    let states: Option<&[&str]> = match query.state.as_deref() {
        None => None,
        Some("open") => Some(&["pending", "waiting"]),
        Some("dead") => Some(&["dead"]),
        Some("delivered") => Some(&["delivered"]),
        Some(_) => {
            return Err(ApiError::field("state", message!("rule.expected", expected = "open, dead or delivered")));
        }
    };
    let states: Option<Vec<String>> = states.map(|states| states.iter().map(|&state| state.to_owned()).collect());
    let (wanted, before) = PageQuery { limit: query.limit, cursor: query.cursor }.validate()?;
    let unknown = |_| ApiError::field("cursor", message!("rule.cursor"));
    let before = before.map(|(at, id)| Ok::<_, ApiError>((at, id.parse().map_err(unknown)?))).transpose()?;
    show(&state.db, (family, id), caller).await?;
    let rows = state.db.receiver_deliveries(id, states.as_deref(), before, wanted + 1).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.created_at, &row.event_id.to_string()));
    let deliveries = rows.into_iter().map(ShownDelivery::from).collect();
    Ok(DeliveryPage { deliveries, next_cursor })
}
