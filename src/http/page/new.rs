//! `GET /new`: the form that starts a deployment. `?from=dep_…` repeats the request of an earlier one; `?github=gh_…&aws=aws_…` chooses connections.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::context::{Page, Visitor, render};
use super::deploy_fields::{Connections, DeployForm, DeployValues};
use super::freezes::row::FreezeNotice;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::{MAX_NAME, QueryParams};
use crate::http::routes::deploy::not_found::not_found;

/// What the form begins with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prefilled {
    from: String,
    github: String,
    aws: String,
    /// Opens the field that overrides freezes and windows, where it is set.
    #[serde(rename = "override")]
    overrides: String,
}

#[derive(Template)]
#[template(path = "new.html")]
struct NewView {
    page: Page,
    /// Deployment whose request is repeated; empty for none.
    from: String,
    notice: FreezeNotice,
    /// The field that overrides a hold is open.
    overrides: bool,
    fields: DeployForm,
}

/// Shows the form, with the values of the query.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    QueryParams(query): QueryParams<Prefilled>,
) -> Result<Response, ApiError> {
    let connections = Connections::read(&state, &caller, page.may("deployer")).await?;
    let values = if query.from.is_empty() {
        DeployValues::chosen(&connections, &query.github, &query.aws)
    } else {
        match state.db.deployment_request(caller.scope(), &query.from).await? {
            Some(request) => DeployValues::from(request),
            None => return Err(not_found(&state, caller.scope(), text::cut(&query.from, MAX_NAME)).await),
        }
    };
    let fields = DeployForm::new(&state, "", connections, values);
    let notice = FreezeNotice::read(&state, &page, &caller).await?;
    let overrides = !query.overrides.is_empty();
    render(&page.clone(), &NewView { page, from: query.from, notice, overrides, fields })
}
