//! Why there is no such deployment.

use crate::domain::principal::Scope;
use crate::http::ApiState;
use crate::http::error::ApiError;

/// What is answered to whoever asks for a deployment that is not there: whether it ever was, as far as they may know.
pub async fn missing(state: &ApiState, scope: &Scope, id: String) -> ApiError {
    match state.db.is_archived(scope, &id).await {
        Ok(true) => ApiError::DeploymentArchived(id),
        Ok(false) => ApiError::DeploymentNotFound(id),
        Err(error) => error.into(),
    }
}
