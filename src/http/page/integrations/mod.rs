//! `GET /integrations`: webhooks, channels and push hooks, with the forms that create them. As in the API, only admins see them, and only those whose
//! repositories are all in their scope. The API bounds each list.

mod facts;
mod forms;
pub mod hook;
mod pushes;
pub mod receiver;
mod row;

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use self::forms::IntegrationForms;
use self::hook::HookRow;
use self::row::ReceiverRow;
use super::context::{Page, Visitor, render};
use crate::commands::{push_hooks, receivers};
use crate::domain::principal::Caller;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::error::ApiError;

#[derive(Template)]
#[template(path = "integrations/list.html")]
struct IntegrationsView {
    page: Page,
    /// Webhooks and channels, by the name of their list.
    receivers: [(&'static str, Vec<ReceiverRow>); 2],
    hooks: Vec<HookRow>,
    forms: IntegrationForms,
}

/// Shows all integrations of which the caller is an admin.
pub async fn handle(State(state): State<ApiState>, Visitor { page, caller }: Visitor) -> Result<Response, ApiError> {
    let webhooks = receiver_rows(&state, &page, ReceiverFamily::Webhooks, &caller).await?;
    let channels = receiver_rows(&state, &page, ReceiverFamily::Channels, &caller).await?;
    let hooks = push_hooks::list(&state.db, &caller).await?;
    let ids: Vec<String> = hooks.iter().map(|hook| hook.id.clone()).collect();
    let newest = state.db.newest_pushes(&ids).await?;
    let mut newest: BTreeMap<String, _> = newest.into_iter().map(|push| (push.hook_id.clone(), push)).collect();
    let row = |hook: crate::db::push_hooks::PushHookView| {
        let newest = newest.remove(&hook.id);
        HookRow::of(&page, hook, newest)
    };
    let hooks = hooks.into_iter().map(row).collect();
    let forms = IntegrationForms::read(&state, &page, &caller).await?;
    let receivers = [("webhooks", webhooks), ("channels", channels)];
    render(&page.clone(), &IntegrationsView { page, receivers, hooks, forms })
}

async fn receiver_rows(
    state: &ApiState,
    page: &Page,
    family: ReceiverFamily,
    caller: &Caller,
) -> Result<Vec<ReceiverRow>, ApiError> {
    let found = receivers::list(&state.db, family, caller).await?;
    let ids: Vec<String> = found.iter().map(|receiver| receiver.id.clone()).collect();
    let failures = state.db.receiver_failures(&ids).await?;
    let mut failures: BTreeMap<String, _> =
        failures.into_iter().map(|failure| (failure.receiver_id.clone(), failure)).collect();
    let rows = found.into_iter().map(|receiver| {
        let failure = failures.remove(&receiver.id);
        ReceiverRow::of(page, receiver, failure)
    });
    Ok(rows.collect())
}
