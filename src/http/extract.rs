//! Extractors for bodies and queries. Every rejection names the field at fault.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use crate::domain::message::message;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::input::InputError;
use crate::http::language;

/// Maximum number of characters of a client's text that an error repeats.
pub const MAX_NAME: usize = 64;

/// A JSON body. Rejects other media types, unknown fields and anything but one object.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(InputError::UnsupportedMediaType.into());
        }
        let body = read_body(request, state).await?;
        parse(&body).map(Self)
    }
}

/// A body whose content has no meaning for the endpoint. It only distinguishes requests with the same idempotency key; an absent body and an
/// empty object count as equal.
#[derive(Debug)]
pub struct UnreadBody(pub Value);

impl FromRequest<ApiState> for UnreadBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let body = read_body(request, state).await?;
        Ok(Self(match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) if object.is_empty() => Value::Null,
            Ok(value) => value,
            Err(_) if body.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&body).into_owned()),
        }))
    }
}

/// Reads the whole body, bounded in size and time.
pub(super) async fn read_body(request: Request, state: &ApiState) -> Result<Bytes, ApiError> {
    let limit = state.config.body_timeout;
    match tokio::time::timeout(limit, Bytes::from_request(request, state)).await {
        Ok(body) => body.map_err(|rejection| body_error(&rejection).into()),
        Err(_) => Err(InputError::BodyTooSlow { limit }.into()),
    }
}

fn body_error(rejection: &BytesRejection) -> InputError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        InputError::BodyTooLarge
    } else {
        InputError::MalformedJson(message!("MALFORMED_JSON.ended"))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// Parses a body that must be one JSON object.
///
/// # Errors
/// The field that is invalid, or the position of a syntax error.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde would accept an array, whose items become the fields in order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(not_an_object());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            Category::Data => field_error(&path, &inner.to_string()),
            // The position only, because the text around it may hold a secret.
            Category::Syntax | Category::Eof | Category::Io => {
                let (line, column) = (inner.line(), inner.column());
                InputError::MalformedJson(message!("MALFORMED_JSON.syntax", line, column)).into()
            }
        }
    })?;
    deserializer.end().map_err(|error| {
        let (line, column) = (error.line(), error.column());
        InputError::MalformedJson(message!("MALFORMED_JSON.trailing", line, column))
    })?;
    Ok(value)
}

fn not_an_object() -> ApiError {
    ApiError::field("body", message!("rule.object"))
}

/// Converts serde's message into an error that names the field. The value is not repeated, because it may be a misplaced secret.
fn field_error(path: &str, message: &str) -> ApiError {
    let name = message.split('`').nth(1).unwrap_or_default();
    // The object that has the field, or lacks it.
    let within = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
    let full = if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") };
    // The client chose the name, so its length is not bounded.
    let quoted = text::cut(&full, MAX_NAME);
    let expected = message.rsplit_once("expected ").map_or("another value", |(_, rest)| rest);
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    if message.starts_with("missing field") {
        ApiError::field(quoted, message!("rule.missing"))
    } else if message.starts_with("unknown field") {
        let known = message.split_once("expected ").map_or("", |(_, rest)| rest);
        let known = known.split(" at line ").next().unwrap_or(known);
        ApiError::field(quoted, message!("rule.unknown_field", known = known.trim_start_matches("one of ")))
    } else if message.starts_with("duplicate field") {
        ApiError::field(quoted, message!("rule.given_twice"))
    } else if path == "." {
        not_an_object()
    } else {
        ApiError::field(path, message!("rule.expected", expected))
    }
}

/// The query parameters of the URL. Rejects unknown and repeated parameters.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let own = match read_query(&parts.uri) {
            // Every path accepts the language, which the parameters of most do not list.
            Err(error) if error.contains(UNKNOWN_LANG) => read_query(&without_language(&parts.uri)),
            first => first,
        };
        own.map(Self).map_err(|error| query_error(&error))
    }
}

/// Part of serde's message for parameters that do not list `lang`.
const UNKNOWN_LANG: &str = "unknown field `lang`";

fn read_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, String> {
    Query::try_from_uri(uri).map(|Query(value)| value).map_err(|rejection| rejection.body_text())
}

fn without_language(uri: &Uri) -> Uri {
    let is_own =
        |pair: &&str| url::form_urlencoded::parse(pair.as_bytes()).all(|(name, _)| name != language::PARAMETER);
    let own: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(is_own).collect();
    // A part of a valid URI is valid.
    format!("{}?{}", uri.path(), own.join("&")).parse().unwrap_or_default()
}

fn query_error(error: &str) -> ApiError {
    let message = ["unknown field", "duplicate field", "missing field"]
        .iter()
        .find_map(|start| error.find(start).map(|at| &error[at..]));
    message.map_or_else(|| ApiError::field("query", message!("rule.query")), |message| field_error(".", message))
}

/// Reads the id in the path.
///
/// # Errors
/// The text in its place, truncated, when it is not a valid id.
pub async fn path_id<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, String> {
    let id = Path::<String>::from_request_parts(parts, state).await.map(|Path(id)| id).unwrap_or_default();
    if is_id(&id) { Ok(id) } else { Err(text::cut(&id, MAX_NAME)) }
}

/// True when `text` is a syntactically valid id. Postgres rejects some other texts (NUL), which would surface as an internal error.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only parsed")]
    struct Body {
        owner: String,
        session_token: Option<String>,
    }

    fn rejection(body: &str) -> (Option<String>, String) {
        let problem = parse::<Body>(body.as_bytes()).unwrap_err().problem();
        (problem.field, problem.detail)
    }

    fn field(body: &str) -> String {
        rejection(body).0.unwrap()
    }

    #[test]
    fn rejections_name_the_field() {
        assert_eq!(field("{}"), "owner");
        assert_eq!(field(r#"{"owner": "a", "ownr": "b"}"#), "ownr");
        assert_eq!(field(r#"{"owner": 7}"#), "owner");
        assert_eq!(field(r#"{"owner": null}"#), "owner");
        assert_eq!(field(r#"{"owner": "a", "sessionToken": []}"#), "sessionToken");
        assert_eq!(field(r#"{"owner": "a", "owner": "b"}"#), "owner");
        for body in ["[\"a\", null]", " []", "7", "null", "\"s3cr3t\""] {
            assert_eq!(rejection(body), (Some("body".to_owned()), "body: must be a JSON object".to_owned()));
        }
        assert!(rejection(r#"{"ownr": "a"}"#).1.contains("`sessionToken`"));
        assert_eq!(rejection(r#"{"owner": {"a": 1}}"#).1, "owner: must be a string");
    }

    #[test]
    fn invalid_json_is_located_but_never_quoted() {
        for body in ["", "{", "{\"owner\": \"s3cr3t", "s3cr3t", "{\"owner\": \"a\"} s3cr3t", "\u{feff}{}"] {
            let (field, detail) = rejection(body);
            assert!(field.is_none() && detail.contains("line 1") && !detail.contains("s3cr3t"), "{body:?}: {detail}");
        }
        let (_, detail) = rejection("\"s3cr3t\"");
        assert!(!detail.contains("s3cr3t"), "{detail}");
    }

    #[test]
    fn requires_json_content_type() {
        let json = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            is_json(&headers)
        };
        assert!(
            json("application/json") && json("Application/JSON; charset=utf-8") && json("application/merge-patch+json")
        );
        assert!(!json("text/plain") && !json("application/x-www-form-urlencoded") && !is_json(&HeaderMap::new()));
    }
}
