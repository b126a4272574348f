//! `GET /integrations/webhooks/{id}` and `GET /integrations/channels/{id}`: one receiver of events with its deliveries, newest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::row::ReceiverRow;
use crate::commands::receivers::show;
use crate::domain::principal::Caller;
use crate::domain::receiver::ReceiverFamily;
use crate::domain::text::visible;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::page::context::{Page, Visitor, render};
use crate::http::page::format::beginning_of_query;
use crate::http::routes::channels::path::ChannelPath;
use crate::http::routes::webhooks::deliveries::{DeliveriesQuery, ShownDelivery, page as deliveries_page};
use crate::http::routes::webhooks::path::WebhookPath;

/// Deliveries on a page.
const PAGE_ROWS: &str = "30";

/// State and cursor of the list of deliveries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeliveriesPosition {
    /// `open`, `dead` or `delivered`; empty for all.
    state: String,
    cursor: String,
}

#[derive(Template)]
#[template(path = "integrations/receiver.html")]
struct ReceiverDetails {
    page: Page,
    row: ReceiverRow,
    deliveries: Vec<ShownDelivery>,
    /// State that the list is filtered by; empty for all.
    filter: String,
    next_cursor: Option<String>,
}

impl ReceiverDetails {
    /// States that the list of deliveries may be filtered by; the first is none.
    const FILTERS: [&'static str; 4] = ["", "open", "dead", "delivered"];

    /// Query of the next page, before its cursor.
    fn query(&self) -> String {
        beginning_of_query(&[("state", &self.filter)])
    }

    /// True for the chosen part of the list.
    fn is_filter(&self, name: impl AsRef<str>) -> bool {
        self.filter == name.as_ref()
    }
}

/// Shows a webhook with a page of its deliveries.
pub async fn webhook(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    WebhookPath { id, .. }: WebhookPath,
    QueryParams(at): QueryParams<DeliveriesPosition>,
) -> Result<Response, ApiError> {
    details(&state, page, (ReceiverFamily::Webhooks, &id), at, &caller).await
}

/// Shows a channel with a page of its deliveries.
pub async fn channel(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    ChannelPath { id, .. }: ChannelPath,
    QueryParams(at): QueryParams<DeliveriesPosition>,
) -> Result<Response, ApiError> {
    details(&state, page, (ReceiverFamily::Channels, &id), at, &caller).await
}

async fn details(
    state: &ApiState,
    page: Page,
    (family, id): (ReceiverFamily, &str),
    at: DeliveriesPosition,
    caller: &Caller,
) -> Result<Response, ApiError> {
    let found = show(&state.db, (family, id), caller).await?;
    let failure = state.db.receiver_failures(std::slice::from_ref(&found.id)).await?.pop();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let query = DeliveriesQuery { state: some(&at.state), limit: some(PAGE_ROWS), cursor: some(&at.cursor) };
    let list = deliveries_page(state, (family, id), query, caller).await?;
    let readable = |row: ShownDelivery| ShownDelivery { last_error: row.last_error.as_deref().map(visible), ..row };
    let deliveries = list.deliveries.into_iter().map(readable).collect();
    let row = ReceiverRow::of(&page, found, failure);
    let view = ReceiverDetails { page, row, deliveries, filter: at.state, next_cursor: list.next_cursor };
    render(&view.page, &view)
}
