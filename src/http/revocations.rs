//! `/api/v1/revocations`: subjects of OpenID Connect issuers that are refused, whatever their tokens say.

pub mod create;
pub mod list;
pub mod remove;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::db::revocations::Revocation;
use crate::domain::principal::{Caller, Scope};

/// A subject that is refused.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedSubject {
    /// Names the revocation.
    #[schema(example = "rev_4k1zq0v7w3m9x2c8b5n6")]
    pub revocation_id: String,
    /// The issuer, as its tokens name it in `iss`.
    #[schema(example = "https://token.actions.githubusercontent.com")]
    pub issuer: String,
    /// The subject, as its tokens name it in `sub`.
    #[schema(example = "repo:acme/shop:ref:refs/heads/main")]
    pub subject: String,
    /// Why; null when no reason was given.
    #[schema(example = "The runner was compromised")]
    pub reason: Option<String>,
    /// Who revoked it.
    #[schema(example = "alice")]
    pub revoked_by: String,
    /// When (UTC).
    pub revoked_at: DateTime<Utc>,
}

impl From<Revocation> for RevokedSubject {
    fn from(row: Revocation) -> Self {
        Self {
            revocation_id: row.id,
            issuer: row.issuer,
            subject: row.subject,
            reason: row.reason,
            revoked_by: row.revoked_by,
            revoked_at: row.revoked_at,
        }
    }
}

/// A subject may have acted for any repository.
fn for_all(caller: &Caller) -> Result<(), ApiError> {
    if *caller.scope() == Scope::All { Ok(()) } else { Err(ApiError::OutOfScope("all repositories".to_owned())) }
}
