//! The header `Idempotency-Key`: a request that is sent again under its key gets the first answer and has no further effect.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::db::Db;
use crate::db::idempotency::{IdempotencyKey, Kept};
use crate::domain::principal::Caller;

/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// The header as it came: [`KeyHeader::of`] looks at it once the meaning of the request is known.
#[derive(Debug)]
pub struct KeyHeader(Option<HeaderValue>);

/// The answer of the request that came with this key before; none when it is the first, or has no key.
pub async fn kept_answer(db: &Db, key: Option<&IdempotencyKey>) -> Result<Option<Value>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    match db.kept_answer(key).await? {
        Kept::Free => Ok(None),
        Kept::Repeated(answer) => Ok(Some(answer)),
        Kept::Reused => Err(ApiError::IdempotencyKeyReused),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get("idempotency-key").cloned()))
    }
}

impl KeyHeader {
    /// The key of a request of `caller` to `path` (with its method), whose meaning is `request`; none when the client gave none. Of the
    /// fields, not of the bytes: another order or other spaces are the same request. Of the caller: the key of another is another.
    pub fn of(self, caller: &Caller, path: &str, request: &Value) -> Result<Option<IdempotencyKey>, ApiError> {
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
            _ => Err(ApiError::field(
                "Idempotency-Key",
                format!("must be 1 to {MAX_KEY} visible ASCII characters, such as a UUID"),
            )),
        }
    }
}
