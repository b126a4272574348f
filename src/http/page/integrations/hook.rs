//! `GET /integrations/hooks/{id}`: one push hook with its rules and what it received, newest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::pushes::{PushRow, RuleRow};
use crate::commands::push_hooks::show;
use crate::db::push_hooks::PushHookView;
use crate::db::push_hooks::deliveries::NewestPush;
use crate::domain::text::visible;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::page::context::{Page, Visitor, render};
use crate::http::page::format::beginning_of_query;
use crate::http::routes::hooks::deliveries::{PushDeliveriesQuery, page as deliveries_page};
use crate::http::routes::hooks::path::PushHookPath;

/// Deliveries on a page.
const PAGE_ROWS: &str = "30";

/// A push hook with its newest delivery.
pub struct HookRow {
    /// Id of the hook.
    pub id: String,
    /// Its name, else its repositories.
    pub title: String,
    pub repositories: String,
    /// `active`, or `disabled` while it starts nothing.
    pub state: &'static str,
    /// Admin with whose permission it acts.
    pub made_by: String,
    /// That admin is another caller.
    pub is_of_another: bool,
    pub rules: Vec<RuleRow>,
    /// The newest delivery; none before the first.
    pub newest: Option<NewestPush>,
    /// Ends of earlier secrets after a rotation.
    pub previous_secrets_until: Vec<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl HookRow {
    /// Prepares a push hook for templates.
    pub fn of(page: &Page, row: PushHookView, newest: Option<NewestPush>) -> Self {
        let repositories = visible(&row.repositories.join(", "));
        Self {
            title: row.name.as_deref().map_or_else(|| repositories.clone(), visible),
            repositories,
            state: if row.enabled { "active" } else { "disabled" },
            is_of_another: page.subject().is_some_and(|subject| subject != row.made_by),
            made_by: page.author(&row.made_by),
            rules: row.rules.0.into_iter().map(|rule| RuleRow::of(page, rule)).collect(),
            newest,
            previous_secrets_until: row.previous_secrets_until,
            created_at: row.created_at,
            updated_at: row.updated_at,
            id: row.id,
        }
    }

    /// True while it decides on what it receives.
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }

    /// Path of the hook in the API.
    pub fn api(&self) -> String {
        format!("/api/v1/hooks/{}", self.id)
    }

    /// Members of its settings that a change must repeat.
    #[expect(clippy::unused_self, reason = "templates call it for all integrations")]
    pub fn members(&self) -> &'static str {
        "name rules"
    }
}

/// Decision and cursor of the list of deliveries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PushesPosition {
    /// `started`, `ignored` or `rejected`; empty for all.
    decision: String,
    cursor: String,
}

#[derive(Template)]
#[template(path = "integrations/hook.html")]
struct HookDetails {
    page: Page,
    row: HookRow,
    pushes: Vec<PushRow>,
    /// Decision that the list is filtered by; empty for all.
    filter: String,
    next_cursor: Option<String>,
}

impl HookDetails {
    /// Decisions that the list may be filtered by; the first is none.
    const FILTERS: [&'static str; 4] = ["", "started", "ignored", "rejected"];

    /// Query of the next page, before its cursor.
    fn query(&self) -> String {
        beginning_of_query(&[("decision", &self.filter)])
    }

    /// True for the chosen part of the list.
    fn is_filter(&self, name: impl AsRef<str>) -> bool {
        self.filter == name.as_ref()
    }
}

/// Shows a push hook with a page of its deliveries.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    PushHookPath { id, .. }: PushHookPath,
    QueryParams(at): QueryParams<PushesPosition>,
) -> Result<Response, ApiError> {
    let found = show(&state.db, &id, &caller).await?;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let query = PushDeliveriesQuery { decision: some(&at.decision), limit: some(PAGE_ROWS), cursor: some(&at.cursor) };
    let list = deliveries_page(&state, &id, (query, Some(page.lang)), &caller).await?;
    let pushes = list.deliveries.into_iter().map(PushRow::from).collect();
    let row = HookRow::of(&page, found, None);
    let view = HookDetails { page, row, pushes, filter: at.decision, next_cursor: list.next_cursor };
    render(&view.page, &view)
}
