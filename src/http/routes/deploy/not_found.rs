//! The error for a deployment that is not found.

use crate::commands::deploy::error::DeployError;
use crate::domain::principal::Scope;
use crate::http::ApiState;
use crate::http::error::ApiError;

/// Distinguishes an archived deployment from one that never existed, within the caller's scope.
pub async fn not_found(state: &ApiState, scope: &Scope, id: String) -> ApiError {
    match state.db.is_archived(scope, &id).await {
        Ok(true) => DeployError::Archived(id).into(),
        Ok(false) => DeployError::NotFound(id).into(),
        Err(error) => error.into(),
    }
}
