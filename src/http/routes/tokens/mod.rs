//! `/api/v1/tokens`: API tokens, for admins of all repositories.

pub mod create;
pub mod error;
pub mod list;
pub mod path;
pub mod revoke;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::tokens::TokenView;
use crate::http::time;

/// An API token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// Id for `DELETE /api/v1/tokens/{id}`. It names the token, and is no secret.
    #[schema(example = "tok_4k1zq0v7w3m9x2c8b5n6")]
    pub token_id: String,
    /// Name of the token's user or program, as the audit shows it.
    #[schema(example = "ci-shop")]
    pub name: String,
    /// Role that the token grants.
    #[schema(example = "deployer")]
    pub role: String,
    /// Repositories that the token covers, `owner/repo` or `owner/*`; null for all.
    #[schema(example = json!(["acme/shop"]))]
    pub repositories: Option<Vec<String>>,
    /// Time of creation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Expiry (UTC); null for never.
    #[serde(serialize_with = "time::optional_millis")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Time of revocation (UTC); null while the token is valid.
    #[serde(serialize_with = "time::optional_millis")]
    pub revoked_at: Option<DateTime<Utc>>,
}

impl From<TokenView> for ApiToken {
    fn from(row: TokenView) -> Self {
        Self {
            token_id: row.id,
            name: row.name,
            role: row.role,
            repositories: row.scope,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}
