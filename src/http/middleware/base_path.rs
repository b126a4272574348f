//! Serves the API below a path, such as `/panda`, where programs share a host name.
//!
//! Requests without the prefix are served too: probes and metrics come from inside the cluster, and some proxies remove the prefix themselves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

/// Serves `app` below `base` as well; `base` is empty, or begins with a slash and does not end with one.
pub fn below(base: &str, app: Router) -> Router {
    if base.is_empty() {
        return app;
    }
    // Routing takes place within the service, after the path was changed.
    Router::new().fallback_service(app).layer(from_fn_with_state(Arc::<str>::from(base), remove))
}

/// Removes the prefix from the path, and adds it to a redirect of the response.
async fn remove(State(base): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    let Some(uri) = without(&base, request.uri()) else { return next.run(request).await };
    *request.uri_mut() = uri;
    let mut response = next.run(request).await;
    let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    let changed = location.filter(|location| location.starts_with('/')).map(|location| format!("{base}{location}"));
    if let Some(changed) = changed.and_then(|changed| HeaderValue::try_from(changed).ok()) {
        response.headers_mut().insert(header::LOCATION, changed);
    }
    response
}

/// The address without the prefix; none if it has another one.
fn without(base: &str, uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(base)?;
    let path = match rest {
        "" => "/",
        rest if rest.starts_with('/') => rest,
        _ => return None,
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{query}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(path: &'static str) -> Option<String> {
        without("/tools/panda", &Uri::from_static(path)).map(|uri| uri.to_string())
    }

    #[test]
    fn removes_whole_segments_only() {
        assert_eq!(rest("/tools/panda/api/v1/list?limit=2").as_deref(), Some("/api/v1/list?limit=2"));
        assert_eq!(rest("/tools/panda").as_deref(), Some("/"));
        assert_eq!(rest("/tools/panda?a=b").as_deref(), Some("/?a=b"));
        assert_eq!(rest("/tools/panda2/api"), None);
        assert_eq!(rest("/api/v1/list"), None);
        assert_eq!(rest("/tools/panda/%2e%2e/x").as_deref(), Some("/%2e%2e/x"));
    }
}
