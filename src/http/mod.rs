//! The API: one endpoint a file, path = URL. May use `domain` and `db`; `clients` only for the reading checks of connecting.
//!
//! Handlers write wishes and nothing else: a new row, `switch_requested_at`. Whatever a wish causes is the reconciler's work, so a
//! process may die on any line here: either the wish is committed, or the client has no answer and asks again.
//!
//! Each endpoint's file has the same headings: what it takes, what it answers, the handler.

mod api_docs;
pub mod audit;
pub mod auth;
pub mod caller_limit;
pub mod client;
pub mod connect;
pub mod connections;
pub mod deploy;
mod door;
pub mod envelope;
pub mod error;
pub mod events;
pub mod extract;
pub mod healthz;
pub mod hub;
pub mod idempotency;
pub mod log;
pub mod maintenance;
mod metrics;
pub mod middleware;
mod object;
pub mod oidc;
pub mod problem;
pub mod readyz;
pub mod reports;
pub mod revocations;
pub mod schedules;
mod schema_gate;
pub mod server;
pub mod session;
pub mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clients::aws::Aws;
use crate::clients::github::GitHub;
use crate::config::HttpConfig;
use crate::db::Db;
use crate::domain::maintenance::Rule;
use crate::domain::names::Names;
use crate::metrics::Metrics;
pub use api_docs::document;
pub use auth::{Auth, AuthOptions};
use caller_limit::CallerLimit;
pub use error::ApiError;
pub use hub::Hub;
pub use server::tls::{Tls, TlsError};
pub use server::{limits, listen, serve};
pub use stream::seats::Seats;

/// Most bytes of a request's body.
pub const MAX_BODY: usize = 64 * 1024;

/// What handlers work with: cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The database.
    pub db: Db,
    /// Who may what.
    pub auth: Auth,
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
    /// Name of the step with which every attempt after the first begins.
    pub retry_step: &'static str,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Settings of the API.
    pub config: Arc<HttpConfig>,
    /// What is removed with time.
    pub retention: Arc<Vec<Rule>>,
    /// Told when somebody asked for a run of maintenance.
    pub maintenance: Arc<Notify>,
    /// What is logged.
    pub log: LogControl,
    /// Reports of one caller at once.
    pub reports: CallerLimit,
    /// Places for event streams.
    pub seats: Seats,
    /// Cancelled when the process is to end: streams close, and readiness is taken back.
    pub shutdown: CancellationToken,
}

/// What handlers need to know of the log.
#[derive(Clone, Debug)]
pub struct LogControl {
    /// The filter that rules while nobody sets another.
    pub own: &'static str,
    /// Told when somebody sets one.
    pub asked: Arc<Notify>,
}

/// The whole API. Called within a runtime: refusals are counted by a task.
pub fn router(state: ApiState) -> Router {
    let config = Arc::clone(&state.config);
    let (routes, document) = api_docs::parts();
    let refusals = audit::Refusals::start(state.db.clone(), state.shutdown.clone());
    let app = routes
        .merge(api_docs::browser(document))
        .fallback(async || ApiError::RouteNotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(refusals, audit::keep_refusals))
        .layer(from_fn_with_state(state.clone(), schema_gate::guard))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state);
    middleware::wrap(app, &config)
}
