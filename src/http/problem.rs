//! The body of every error: RFC 9457's members, and beside them those that the web front end in use reads.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

/// Media type of errors.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Names the kind of problem: `urn:panda:problem:` and the error code in lower case with hyphens.
    #[schema(example = "urn:panda:problem:deployment-not-found")]
    pub r#type: String,
    /// The kind of problem in words.
    #[schema(example = "There is no such deployment")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong in this case, and what to do.
    #[schema(example = "There is no deployment dep_x. GET /api/v1/deploy lists those that there are.")]
    pub detail: String,
    /// The path of the request.
    #[schema(example = "/api/v1/deploy/dep_x/result")]
    pub instance: String,
    /// When it happened: RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T09:30:00.123Z")]
    #[serde(serialize_with = "millis")]
    pub timestamp: DateTime<Utc>,
    /// The HTTP status in words.
    #[schema(example = "Not Found")]
    pub error: &'static str,
    /// The same as `detail`.
    #[schema(example = "There is no deployment dep_x. GET /api/v1/deploy lists those that there are.")]
    pub message: String,
    /// Stable code to match on.
    #[schema(example = "DEPLOYMENT_NOT_FOUND")]
    pub error_code: &'static str,
    /// The field that is not valid; absent when the problem is not about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "owner")]
    pub field: Option<String>,
    /// The deployment that it is about; absent when it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "dep_x")]
    pub deployment_id: Option<String>,
    /// The stage (1 to 4) that this deployment has reached; absent where it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 2)]
    pub stage: Option<i32>,
    /// The external id that the role's trust policy has to require; absent when the problem is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "panda-0123456789abcdef0123456789abcdef")]
    pub external_id: Option<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

fn millis<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

impl Problem {
    /// A problem of now; `instance` is filled in by [`describe`].
    pub fn new(status: StatusCode, error_code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            r#type: format!("urn:panda:problem:{}", error_code.to_lowercase().replace('_', "-")),
            title,
            status: status.as_u16(),
            message: detail.clone(),
            detail,
            instance: String::new(),
            timestamp: Utc::now(),
            error: status.canonical_reason().unwrap_or("Error"),
            error_code,
            field: None,
            deployment_id: None,
            stage: None,
            external_id: None,
            retry_after: None,
        }
    }

    /// Names the field that is not valid.
    #[must_use]
    pub fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// Names the deployment.
    #[must_use]
    pub fn deployment(mut self, id: &str) -> Self {
        self.deployment_id = Some(id.to_owned());
        self
    }

    /// Says how far the deployment is.
    #[must_use]
    pub fn stage(mut self, stage: Option<i32>) -> Self {
        self.stage = stage;
        self
    }

    /// Names the external id, which is no secret to the tenant that it is derived for.
    #[must_use]
    pub fn external_id(mut self, id: &SecretString) -> Self {
        self.external_id = Some(id.expose_secret().to_owned());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for Problem {
    /// A response without a body: only [`describe`] knows the request's path.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every problem its body.
pub async fn describe(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.instance = path;
    // Strings and numbers only: nothing that JSON could refuse.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="panda""#));
    }
    if let Some(wait) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    *response.body_mut() = body.into();
    response
}
