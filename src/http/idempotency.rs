//! The header `Idempotency-Key`: repeating a request with the same key returns the first response and has no further effect.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::db::idempotency::IdempotencyKey;
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::http::error::ApiError;

/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// The raw header. [`IdempotencyKeyHeader::key_for`] validates it once the request is parsed.
#[derive(Debug)]
pub struct IdempotencyKeyHeader(Option<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKeyHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get("idempotency-key").cloned()))
    }
}

/// The header in the API's description, for every endpoint that takes it.
impl IntoParams for IdempotencyKeyHeader {
    fn into_params(_parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_KEY));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "1 to 255 visible ASCII characters, unique per request; the first response is kept for 24 hours.",
            ))
            .example(Some(json!("3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10")))
            .schema(Some(schema));
        vec![header.build()]
    }
}

impl IdempotencyKeyHeader {
    /// The key of a request that has it in another place than its headers. A text that no header can hold counts as an empty key, which is invalid.
    pub fn of(key: Option<&str>) -> Self {
        Self(key.map(|key| HeaderValue::from_str(key).unwrap_or(HeaderValue::from_static(""))))
    }

    /// The key of a request by `caller` to `path` (method included) with the fields `request`; none when the header is absent. The hash covers the
    /// parsed fields, so order and white space do not matter. The scope includes the caller, so equal keys of two callers do not collide.
    ///
    /// # Errors
    /// [`ApiError::Input`] for an invalid key.
    pub fn key_for(self, caller: &Caller, path: &str, request: &Value) -> Result<Option<IdempotencyKey>, ApiError> {
        let Some(key) = self.0 else { return Ok(None) };
        match key.to_str() {
            Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(Some(IdempotencyKey {
                scope: match caller.principal.known_subject() {
                    Some(subject) => format!("{path} by {}:{subject}", caller.principal.kind.as_str()),
                    None => path.to_owned(),
                },
                key: key.to_owned(),
                request_hash: Sha256::digest(request.to_string()).to_vec(),
            })),
            _ => Err(ApiError::field("Idempotency-Key", message!("rule.idempotency_key", max = MAX_KEY))),
        }
    }
}
