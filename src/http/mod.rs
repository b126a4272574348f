//! The API: one endpoint a file, path = URL. May use `domain` and `db`; `clients` only for the reading checks of connecting.
//!
//! Handlers write wishes and nothing else: a new row, `switch_requested_at`. Whatever a wish causes is the reconciler's work, so a
//! process may die on any line here: either the wish is committed, or the client has no answer and asks again.
//!
//! Each endpoint's file has the same headings: what it takes, what it answers, the handler.

mod api_docs;
pub mod connect;
pub mod connections;
pub mod deploy;
pub mod envelope;
pub mod error;
pub mod extract;
pub mod healthz;
pub mod hub;
pub mod middleware;
pub mod problem;
pub mod readyz;
pub mod server;
pub mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use crate::clients::aws::Aws;
use crate::clients::github::GitHub;
use crate::config::HttpConfig;
use crate::db::Db;
use crate::domain::names::Names;
pub use api_docs::document;
pub use error::ApiError;
pub use hub::Hub;
pub use server::serve;

/// Most bytes of a request's body.
pub const MAX_BODY: usize = 64 * 1024;

/// What handlers work with: cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The database.
    pub db: Db,
    /// Where event streams wait.
    pub hub: Hub,
    /// GitHub, asked when connecting.
    pub github: Arc<GitHub>,
    /// AWS, asked when connecting.
    pub aws: Aws,
    /// Names in AWS.
    pub names: Arc<Names>,
    /// Name of the step with which a deployment begins.
    pub first_step: &'static str,
    /// Settings of the API.
    pub config: Arc<HttpConfig>,
    /// Cancelled when the process is to end: streams close, and readiness is taken back.
    pub shutdown: CancellationToken,
}

/// The whole API.
pub fn router(state: ApiState) -> Router {
    let cors = middleware::cors(&state.config.cors_origins);
    let (routes, document) = api_docs::routes().split_for_parts();
    let app = routes
        .merge(api_docs::browser(document))
        .fallback(async || ApiError::RouteNotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
        // From here on outwards: what wraps a request first stands last.
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn(problem::describe))
        .layer(TraceLayer::new_for_http().make_span_with(middleware::span))
        .layer(PropagateRequestIdLayer::new(middleware::REQUEST_ID))
        .layer(SetRequestIdLayer::new(middleware::REQUEST_ID, MakeRequestUuid))
        .layer(from_fn(middleware::check_request_id));
    match cors {
        Some(cors) => app.layer(cors),
        None => app,
    }
}
