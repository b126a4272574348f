//! The header `Idempotency-Key`: repeating a request with the same key returns the first response and has no further effect.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use serde_json::Value;
use sha2::{Digest, Sha256};

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

impl IdempotencyKeyHeader {
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
