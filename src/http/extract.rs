//! What a request carries, read so that everything wrong becomes an error that names the field.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::ApiState;
use super::client::{Peer, Proxies};
use super::error::ApiError;
use super::middleware::REQUEST_ID;
use crate::domain::build_spec::secret_name;
use crate::domain::text;

/// Most characters of a name that a client made up and that we repeat.
const MAX_NAME: usize = 64;

/// A body of JSON.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let body = read(request, state).await?;
        parse(&body).map(Self)
    }
}

/// A body that the request's meaning does not depend on: kept only to tell one request from another under an idempotency key.
/// None and an empty object are the same.
#[derive(Debug)]
pub struct UnreadBody(pub Value);

impl FromRequest<ApiState> for UnreadBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let body = read(request, state).await?;
        Ok(Self(match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) if object.is_empty() => Value::Null,
            Ok(value) => value,
            Err(_) if body.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&body).into_owned()),
        }))
    }
}

/// All of the body: it is small, and has to be here soon.
async fn read(request: Request, state: &ApiState) -> Result<Bytes, ApiError> {
    let limit = state.config.body_timeout;
    match tokio::time::timeout(limit, Bytes::from_request(request, state)).await {
        Ok(body) => body.map_err(|rejection| refused_body(&rejection)),
        Err(_) => Err(ApiError::BodyTooSlow { limit }),
    }
}

fn refused_body(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::BodyTooLarge
    } else {
        ApiError::MalformedJson("the body broke off".to_owned())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde would take a list for an object, its items for the fields in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(not_an_object());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            Category::Data => refused_field(&path, &inner.to_string()),
            // Only where it broke: the text around it may hold a secret.
            Category::Syntax | Category::Eof | Category::Io => {
                ApiError::MalformedJson(format!("it breaks at line {}, column {}", inner.line(), inner.column()))
            }
        }
    })?;
    deserializer.end().map_err(|error| {
        ApiError::MalformedJson(format!(
            "something follows the object at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    Ok(value)
}

fn not_an_object() -> ApiError {
    ApiError::field("body", "must be a JSON object")
}

/// Turns serde's words into ours. A wrong value is not repeated: it may be a secret in the wrong place.
fn refused_field(path: &str, message: &str) -> ApiError {
    let name = message.split('`').nth(1).unwrap_or_default();
    // The object that it is in, or should be.
    let within = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
    let full = if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") };
    // A client may name a field at any length.
    let quoted = text::cut(&full, MAX_NAME);
    let expected = message.rsplit_once("expected ").map_or("another value", |(_, rest)| rest);
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    if message.starts_with("missing field") {
        ApiError::field(quoted, "is missing; it is required")
    } else if message.starts_with("unknown field") {
        let known = message.split_once("expected ").map_or("", |(_, rest)| rest);
        let known = known.split(" at line ").next().unwrap_or(known);
        ApiError::field(quoted, format!("is not known here; there are {}", known.trim_start_matches("one of ")))
    } else if message.starts_with("duplicate field") {
        ApiError::field(quoted, "is given twice; give it once")
    } else if path == "." {
        not_an_object()
    } else {
        ApiError::field(path, format!("must be {expected}"))
    }
}

/// The query of the URL.
#[derive(Debug)]
pub struct QueryParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let message = ["unknown field", "duplicate field", "missing field"]
                    .iter()
                    .find_map(|start| text.find(start).map(|at| text[at..].to_owned()));
                Err(message.map_or_else(
                    || ApiError::field("query", "cannot be read: use name=value pairs, percent-encoded"),
                    |message| refused_field(".", &message),
                ))
            }
        }
    }
}

/// Whose request it is.
#[derive(Debug)]
pub struct Client(pub IpAddr);

impl FromRequestParts<ApiState> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(Self(Proxies::from(&*state.config).client(peer(parts), &parts.headers)))
    }
}

/// Where a request came from, to the last bit.
#[derive(Debug)]
pub struct Origin(pub IpAddr);

impl FromRequestParts<ApiState> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        Ok(Self(Proxies::from(&*state.config).origin(peer(parts), &parts.headers)))
    }
}

/// Only a router that is called without a connection has no peer.
pub fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer)
}

/// The id under which the log and the answer have a request.
pub fn request_id(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// A schedule's id in the path, as [`DeploymentId`].
#[derive(Debug)]
pub struct ScheduleId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ScheduleId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id(parts, state).await.map(Self).map_err(ApiError::ScheduleNotFound)
    }
}

/// A connection's id in the path, as [`DeploymentId`].
#[derive(Debug)]
pub struct ConnectionId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ConnectionId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id(parts, state).await.map(Self).map_err(ApiError::ConnectionNotFound)
    }
}

/// A revocation's id in the path, as [`DeploymentId`].
#[derive(Debug)]
pub struct RevocationId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for RevocationId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id(parts, state).await.map(Self).map_err(ApiError::RevocationNotFound)
    }
}

/// A connection's id and a build secret's name in the path.
#[derive(Debug)]
pub struct BuildSecretPath {
    /// The connection, `gh_…`.
    pub connection: String,
    /// The name.
    pub name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for BuildSecretPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (connection, name) = path.map(|Path(path)| path).unwrap_or_default();
        if !is_id(&connection) {
            return Err(ApiError::ConnectionNotFound(text::cut(&connection, MAX_NAME)));
        }
        secret_name(&name).map_err(|rule| ApiError::field("name", rule))?;
        Ok(Self { connection, name })
    }
}

/// The id in the path; what stands there, cut, when it cannot be one.
async fn id<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, String> {
    let id = Path::<String>::from_request_parts(parts, state).await.map(|Path(id)| id).unwrap_or_default();
    if is_id(&id) { Ok(id) } else { Err(text::cut(&id, MAX_NAME)) }
}

/// A deployment's id in the path. One that cannot be an id is not looked for: it does not exist.
#[derive(Debug)]
pub struct DeploymentId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for DeploymentId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id(parts, state).await.map(Self).map_err(ApiError::DeploymentNotFound)
    }
}

/// Whether a text can be one of our ids. Postgres refuses some that cannot (NUL), which would look like our fault.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its parsing is of interest")]
    struct Body {
        owner: String,
        session_token: Option<String>,
    }

    fn refused(body: &str) -> (Option<String>, String) {
        let problem = parse::<Body>(body.as_bytes()).unwrap_err().problem();
        (problem.field, problem.detail)
    }

    fn field(body: &str) -> String {
        refused(body).0.unwrap()
    }

    #[test]
    fn each_mistake_names_its_field() {
        assert_eq!(field("{}"), "owner");
        assert_eq!(field(r#"{"owner": "a", "ownr": "b"}"#), "ownr");
        assert_eq!(field(r#"{"owner": 7}"#), "owner");
        assert_eq!(field(r#"{"owner": null}"#), "owner");
        assert_eq!(field(r#"{"owner": "a", "sessionToken": []}"#), "sessionToken");
        assert_eq!(field(r#"{"owner": "a", "owner": "b"}"#), "owner");
        for body in ["[\"a\", null]", " []", "7", "null", "\"s3cr3t\""] {
            assert_eq!(refused(body), (Some("body".to_owned()), "body: must be a JSON object".to_owned()));
        }
        assert!(refused(r#"{"ownr": "a"}"#).1.contains("`sessionToken`"));
        assert_eq!(refused(r#"{"owner": {"a": 1}}"#).1, "owner: must be a string");
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place_and_never_repeated() {
        for body in ["", "{", "{\"owner\": \"s3cr3t", "s3cr3t", "{\"owner\": \"a\"} s3cr3t", "\u{feff}{}"] {
            let (field, detail) = refused(body);
            assert!(field.is_none() && detail.contains("line 1") && !detail.contains("s3cr3t"), "{body:?}: {detail}");
        }
        let (_, detail) = refused("\"s3cr3t\"");
        assert!(!detail.contains("s3cr3t"), "{detail}");
    }

    #[test]
    fn only_json_is_taken_for_json() {
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
