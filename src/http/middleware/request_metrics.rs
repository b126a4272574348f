//! Counts answered requests to the API, refused ones included. Probes and scrapes are none: a replica that waits for its database would count as an
//! API that fails, twice a second.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::metrics::HttpMetrics;

/// Records status and duration of a request until the head of its response.
pub async fn record(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    if route.as_ref().is_some_and(|route| !is_api(route.as_str())) {
        return next.run(request).await;
    }
    let begun = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    metrics.answered(route, response.status().as_u16(), begun.elapsed());
    response
}

/// True for the route of an API request.
pub fn is_api(route: &str) -> bool {
    route.starts_with("/api/") || route == "/mcp"
}
