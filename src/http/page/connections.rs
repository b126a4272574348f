//! `GET /connections`: connections to GitHub and AWS, with forms that add, renew, check and remove them.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::context::{Page, Visitor, render};
use super::deploy_fields::Connections;
use crate::domain::validate::REGIONS;
use crate::http::ApiState;
use crate::http::error::ApiError;

#[derive(Template)]
#[template(path = "connections.html")]
struct ConnectionsView {
    page: Page,
    connections: Connections,
    /// Regions that the form suggests.
    regions: Vec<String>,
}

/// Shows the connections of the caller's scope.
pub async fn handle(State(state): State<ApiState>, Visitor { page, caller }: Visitor) -> Result<Response, ApiError> {
    let connections = Connections::read(&state, &caller, page.may("deployer")).await?;
    let known = REGIONS.iter().map(|&region| region.to_owned());
    let regions = known.chain(state.config.extra_regions.iter().cloned()).collect();
    render(&page.clone(), &ConnectionsView { page, connections, regions })
}
