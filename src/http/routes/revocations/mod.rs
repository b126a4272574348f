//! `/api/v1/revocations`: subjects of OpenID Connect issuers whose tokens are rejected even while they are valid.

pub mod create;
pub mod error;
pub mod list;
pub mod path;
pub mod remove;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::revocations::Revocation;
use crate::http::time;

/// A revoked subject of an issuer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubjectRevocation {
    /// Id for `DELETE /api/v1/revocations/{id}`.
    #[schema(example = "rev_4k1zq0v7w3m9x2c8b5n6")]
    pub revocation_id: String,
    /// Issuer, as in the claim `iss`.
    #[schema(example = "https://token.actions.githubusercontent.com")]
    pub issuer: String,
    /// Subject, as in the claim `sub`.
    #[schema(example = "repo:acme/shop:ref:refs/heads/main")]
    pub subject: String,
    /// Reason for the revocation; null when none was given.
    #[schema(example = "The runner was compromised")]
    pub reason: Option<String>,
    /// Caller who revoked the subject.
    #[schema(example = "alice")]
    pub revoked_by: String,
    /// Time of the revocation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub revoked_at: DateTime<Utc>,
}

impl From<Revocation> for SubjectRevocation {
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
