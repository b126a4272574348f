//! The body of every error: the members of RFC 9457, plus those that the existing web front end reads.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::lang::Lang;
use crate::domain::message::Message;
use crate::http::language::{self, AskedLang};
use crate::http::{json, time};

/// Media type of errors.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// `Retry-After` for failures that mostly pass within seconds.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Address of the page that documents the error codes, up to the code.
const DOCUMENTATION: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/errors.md#");

/// The parts of a problem that all occurrences of an error share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProblemType {
    pub(crate) status: StatusCode,
    /// Stable code that programs match on, and group of its texts in the catalogue.
    pub(crate) code: &'static str,
    /// Key of the title in the catalogue.
    pub(crate) title: &'static str,
}

impl ProblemType {
    pub(crate) const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self { status, code, title }
    }
}

/// Creates a problem type: its title is the text `title` of the code, or the named one.
macro_rules! problem_type {
    ($status:ident, $code:literal) => {
        $crate::http::error::problem::problem_type!($status, $code, "title")
    };
    ($status:ident, $code:literal, $title:literal) => {
        $crate::http::error::problem::ProblemType::new(
            axum::http::StatusCode::$status,
            $code,
            concat!($code, ".", $title),
        )
    };
}
pub(crate) use problem_type;

/// Gives each variant of an error type its status and code. The match has no wildcard, so a variant without them does not compile; and the
/// page of errors, which lists [`ProblemType`]s, is incomplete without a sample of each. The texts are in `domain/texts/errors.json`.
macro_rules! problem_types {
    ($error:ident: $($variant:ident => $status:ident, $code:literal $(, $title:literal)?;)+) => {
        impl $error {
            /// Every type of problem that this error becomes.
            #[cfg(test)]
            pub(crate) const TYPES: &'static [$crate::http::error::problem::ProblemType] = &[
                $($crate::http::error::problem::problem_type!($status, $code $(, $title)?)),+
            ];

            pub(crate) const fn problem_type(&self) -> $crate::http::error::problem::ProblemType {
                match self {
                    $(Self::$variant { .. } => $crate::http::error::problem::problem_type!($status, $code $(, $title)?)),+
                }
            }
        }
    };
}
pub(crate) use problem_types;

/// An error, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Address of the documentation of the error code.
    #[schema(example = "https://github.com/panda-deploy/panda/blob/main/docs/errors.md#deployment_not_found")]
    pub r#type: String,
    /// Short summary of the problem type.
    #[schema(example = "There is no such deployment")]
    pub title: String,
    /// Status code of the HTTP response.
    #[schema(example = 404)]
    pub status: u16,
    /// Explanation of this occurrence, and how to fix it.
    #[schema(example = "There is no deployment dep_x. GET /api/v1/deploy lists the existing ones.")]
    pub detail: String,
    /// The path of the request.
    #[schema(example = "/api/v1/deploy/dep_x/result")]
    pub instance: String,
    /// Time of the error (RFC 3339, UTC).
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T09:30:00.123Z")]
    #[serde(serialize_with = "time::millis")]
    pub timestamp: DateTime<Utc>,
    /// Reason phrase of the HTTP status.
    #[schema(example = "Not Found")]
    pub error: &'static str,
    /// Same text as `detail`.
    #[schema(example = "There is no deployment dep_x. GET /api/v1/deploy lists the existing ones.")]
    pub message: String,
    /// Stable code for programs.
    #[schema(example = "DEPLOYMENT_NOT_FOUND")]
    pub error_code: &'static str,
    /// Name of the invalid field; absent when the problem does not concern a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "owner")]
    pub field: Option<String>,
    /// Id of the deployment concerned; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "dep_x")]
    pub deployment_id: Option<String>,
    /// Stage (1 to 4) that this deployment has reached; absent where it is irrelevant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 2)]
    pub stage: Option<i32>,
    /// External id that the role's trust policy must require; absent when the problem does not concern a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "panda-0123456789abcdef0123456789abcdef")]
    pub external_id: Option<String>,
    /// Trust policy with which Panda may assume the role; absent when the problem does not concern a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub trust_policy: Option<Value>,
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
    /// The texts of `title` and `detail`, for other languages.
    #[serde(skip)]
    texts: (Message, Message),
}

impl Problem {
    /// A problem with the present time, in English; [`add_body`] sets `instance` and the caller's language.
    pub(crate) fn new(problem_type: ProblemType, detail: Message) -> Self {
        let ProblemType { status, code: error_code, title } = problem_type;
        let title = Message::new(title);
        let text = detail.text(Lang::En);
        Self {
            r#type: format!("{DOCUMENTATION}{}", error_code.to_lowercase()),
            title: title.text(Lang::En),
            status: status.as_u16(),
            message: text.clone(),
            detail: text,
            instance: String::new(),
            timestamp: Utc::now(),
            error: status.canonical_reason().unwrap_or("Error"),
            error_code,
            field: None,
            deployment_id: None,
            stage: None,
            external_id: None,
            trust_policy: None,
            retry_after: None,
            texts: (title, detail),
        }
    }

    /// Renders the texts in another language.
    #[must_use]
    pub(crate) fn in_language(mut self, lang: Lang) -> Self {
        self.title = self.texts.0.text(lang);
        self.detail = self.texts.1.text(lang);
        self.message = self.detail.clone();
        self
    }

    /// Sets the invalid field.
    #[must_use]
    pub fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// Sets the deployment concerned.
    #[must_use]
    pub fn deployment(mut self, id: &str) -> Self {
        self.deployment_id = Some(id.to_owned());
        self
    }

    /// Sets the stage that the deployment has reached.
    #[must_use]
    pub fn stage(mut self, stage: Option<i32>) -> Self {
        self.stage = stage;
        self
    }

    /// Sets the external id, which is not secret from the tenant that it was derived for.
    #[must_use]
    pub fn external_id(mut self, id: &SecretString) -> Self {
        self.external_id = Some(id.expose_secret().to_owned());
        self
    }

    /// Sets the trust policy that the role needs.
    #[must_use]
    pub fn trust_policy(mut self, policy: Value) -> Self {
        self.trust_policy = Some(policy);
        self
    }

    /// Sets the header `Retry-After`, rounded down to whole seconds, at least 1.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Seconds of the header `Retry-After`; none without one.
    pub(crate) fn wait_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().max(1))
    }

    /// Sets the header `Retry-After`, rounded up, so that the next request after a limit's `wait` is accepted.
    #[must_use]
    pub(crate) fn retry_after_at_least(self, wait: Duration) -> Self {
        self.retry_after(wait + Duration::from_millis(999))
    }
}

impl IntoResponse for Problem {
    /// A response without a body. [`add_body`] adds it, because only the middleware knows the request's path.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Middleware that serialises the problem of a response into its body, in the caller's language.
pub async fn add_body(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let lang = AskedLang::of(request.uri(), request.headers()).of_errors();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut problem = problem.in_language(lang);
    problem.instance = path;
    let body = json::line(&problem);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    language::label(headers, lang);
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="panda""#));
    }
    if let Some(seconds) = problem.wait_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    *response.body_mut() = body.into();
    response
}
