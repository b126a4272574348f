//! The HTTP API. `routes` has one file an endpoint, whose path is its URL; `middleware` wraps every request; `auth` authenticates callers; `sse`
//! streams events; `page` is the web page; `server` accepts connections; `error` turns failures into problems (RFC 9457).
//!
//! Handlers only translate: they read the request, call a command (`commands`), which decides and stores what is requested, and turn its outcome into
//! the answer. A process may die on any line here: either the command is committed, or the client has no answer and repeats the request. Of `db` they use
//! what reads.
//!
//! Each endpoint's file has the same sections: request, response, handler.

pub mod auth;
pub mod envelope;
pub mod error;
pub mod extract;
pub mod idempotency;
pub mod json;
pub mod language;
pub mod middleware;
pub mod page;
pub mod pagination;
pub mod readiness;
pub mod routes;
mod schema_check;
pub mod server;
pub mod sse;
mod strict_object;
pub mod time;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clients::aws::Aws;
use crate::clients::builder_pool::BuilderPool;
use crate::clients::gates::GateClient;
use crate::clients::github::GitHub;
use crate::clients::receivers::ReceiverClients;
use crate::commands::deploy::Starter;
use crate::config::HttpConfig;
use crate::db::Db;
use crate::domain::app_manifest::ManifestSite;
use crate::domain::maintenance::RetentionRule;
use crate::domain::names::Names;
use crate::domain::permission::SignIn;
use crate::domain::preflight::PreflightSettings;
use crate::http::error::server::ServerError;
use crate::metrics::Metrics;
pub use auth::{Auth, AuthOptions};
pub use error::ApiError;
use middleware::caller_limit::CallerLimit;
use middleware::{audit_refusals, base_path, caller_limit, request_metrics};
use readiness::ReadinessCheck;
use routes::hooks::github::body::PushBodies;
use routes::openapi;
pub use routes::openapi::document;
pub use server::tls::{Tls, TlsError};
pub use server::{limits, listen, serve};
pub use sse::hub::Hub;
pub use sse::stream::permits::StreamPermits;

/// Largest request body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// State shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Queries, with a bounded share of the connections.
    pub db: Db,
    /// Authenticates callers by token, session or ticket.
    pub auth: Auth,
    /// Delivers new events to the streams.
    pub hub: Hub,
    /// Checks a repository and token when a caller connects them.
    pub github: Arc<GitHub>,
    /// Checks credentials and roles when a caller connects them.
    pub aws: Aws,
    /// Measures the gates of a policy before it is stored.
    pub gates: GateClient,
    /// Access to receivers of events outside the database.
    pub receivers: ReceiverAccess,
    /// What push hooks need outside the database.
    pub pushes: PushAccess,
    /// Addresses between which manifests of GitHub Apps are exchanged.
    pub manifests: ManifestSite,
    /// Derives the names of AWS resources.
    pub names: Arc<Names>,
    /// Name of the controller's event bus.
    pub event_bus: Arc<str>,
    /// Settings that decide what a deployment needs.
    pub preflight: Arc<PreflightSettings>,
    /// Builders of this replica, which a check of a connection asks.
    pub builders: BuilderPool,
    /// Name of the first step of a deployment.
    pub first_step: &'static str,
    /// Name of the first step of every retry.
    pub retry_step: &'static str,
    /// Metrics that `/metrics` exports.
    pub metrics: Metrics,
    /// Options of the API.
    pub config: Arc<HttpConfig>,
    /// Retention rules of all kinds of data.
    pub retention: Arc<Vec<RetentionRule>>,
    /// Notified when a caller requests a maintenance run.
    pub maintenance: Arc<Notify>,
    /// Access to the log filter.
    pub log: LogControl,
    /// Limits the connections that the requests of each caller use concurrently.
    pub requests: CallerLimit,
    /// Limits the concurrent reports of each caller.
    pub reports: CallerLimit,
    /// Limits the concurrent reads of stored events of each caller.
    pub replays: CallerLimit,
    /// The database's part of readiness.
    pub readiness: ReadinessCheck,
    /// Limits on open event streams.
    pub stream_permits: StreamPermits,
    /// Cancelled on shutdown: streams close, and readiness turns false.
    pub shutdown: CancellationToken,
}

/// Access to receivers of events outside the database.
#[derive(Clone, Debug)]
pub struct ReceiverAccess {
    /// Sends test events and messages.
    pub clients: ReceiverClients,
    /// Notified when a receiver was created or changed through this replica.
    pub changed: Arc<Notify>,
}

/// What push hooks need outside the database.
#[derive(Clone, Debug, Default)]
pub struct PushAccess {
    /// Sign-in settings, which decide if the permission of a hook's owner still exists.
    pub sign_in: SignIn,
    /// Memory for bodies of requests.
    pub bodies: PushBodies,
}

impl ApiState {
    /// Values that every new deployment needs.
    pub fn starter(&self) -> Starter<'_> {
        Starter { names: &self.names, first_step: self.first_step }
    }
}

/// Access of handlers to the log filter.
#[derive(Clone, Debug)]
pub struct LogControl {
    /// Filter from the configuration, in force while the database has no other.
    pub own: &'static str,
    /// Notified when a caller changes the filter.
    pub changed: Arc<Notify>,
}

/// Builds the whole API. Must be called within a Tokio runtime, because it spawns the task that records refusals.
pub fn router(state: ApiState) -> Router {
    let config = Arc::clone(&state.config);
    let metrics = state.metrics.http.clone();
    let (routes, document) = openapi::routes_and_document();
    metrics.register_routes([routes::mcp::PATH]);
    metrics.register_routes(
        document.paths.paths.keys().map(String::as_str).filter(|route| request_metrics::is_api(route)),
    );
    let refusals = audit_refusals::RefusalRecorder::start(state.db.clone(), state.shutdown.clone());
    let app = routes
        .merge(openapi::swagger_ui(document, &config.base_path))
        .merge(routes::mcp::routes(&state, refusals.clone()))
        .merge(page::routes(&state))
        .fallback(page::failure::not_found)
        .method_not_allowed_fallback(async || ApiError::from(ServerError::MethodNotAllowed))
        .layer(from_fn(caller_limit::with_share))
        .layer(from_fn_with_state(refusals, audit_refusals::record_refusal))
        .layer(from_fn_with_state(state.clone(), schema_check::require_schema))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state);
    let app = middleware::wrap(app, &config).layer(from_fn_with_state(metrics, request_metrics::record));
    base_path::below(&config.base_path, app)
}

/// Builds the API of `PANDA_METRICS_LISTEN`: the metrics alone.
pub fn metrics_router(state: ApiState) -> Router {
    Router::new().route("/metrics", get(routes::metrics::handle_separately)).with_state(state)
}
