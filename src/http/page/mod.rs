//! The web page: HTML rendered on the server (`page/templates`, checked at compile time), with small scripts and styles (`page/components`,
//! `page/styles`). It shows what the API shows: each handler reads with the caller's scope, and changes go through the API. docs/page.md explains how
//! to change it.
//!
//! A file of this folder serves the view of its name: `deployments.rs` serves `GET /`, `deployment` serves `GET /deployments/{id}`.

pub mod assets;
mod audit;
mod connections;
pub mod context;
mod deploy_fields;
mod deployment;
mod deployments;
pub mod failure;
mod format;
mod freezes;
mod github_apps;
mod history;
mod integrations;
pub mod log;
mod new;
mod policies;
mod schedules;
mod sign_in;
mod tokens;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;

use crate::http::ApiState;

/// Builds the routes of the page. HTML and its files are compressed; nothing secret is on a page beside text of the request (BREACH).
pub fn routes(state: &ApiState) -> Router<ApiState> {
    Router::new()
        .route("/", get(deployments::handle))
        .route("/deployments/{id}", get(deployment::handle))
        .route("/deployments/{id}/log", get(log::handle))
        .route("/connections", get(connections::handle))
        .route("/connections/github-apps", get(github_apps::handle))
        .route("/connections/github-apps/callback", get(github_apps::callback::handle))
        .route("/connections/github-apps/{id}", get(github_apps::show::handle))
        .route("/new", get(new::handle))
        .route("/policies", get(policies::handle))
        .route("/policies/{owner}/{repo}", get(policies::show::handle))
        .route("/schedules", get(schedules::handle))
        .route("/schedules/{id}", get(schedules::show::handle))
        .route("/freezes", get(freezes::handle))
        .route("/history", get(history::handle))
        .route("/integrations", get(integrations::handle))
        .route("/integrations/webhooks/{id}", get(integrations::receiver::webhook))
        .route("/integrations/channels/{id}", get(integrations::receiver::channel))
        .route("/integrations/hooks/{id}", get(integrations::hook::handle))
        .route("/sign-in", get(sign_in::show).post(sign_in::handle))
        .route("/sign-in/issuer", get(sign_in::issuer::handle))
        .route("/sign-in/callback", get(sign_in::callback::handle))
        .route("/sign-in/done", get(sign_in::done::handle))
        .route("/sign-out", post(sign_in::sign_out::handle))
        .route("/tokens", get(tokens::handle))
        .route("/audit", get(audit::handle))
        .layer(from_fn_with_state(state.clone(), failure::show_problem))
        .route("/assets/{hash}/{*path}", get(assets::handle))
        .layer(CompressionLayer::new())
}
