//! `GET /healthz`: liveness probe. Checks no dependency, because a restart would not repair the database.

use crate::http::json::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// Response of the liveness probe.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; a failure has another HTTP status and a problem body.
    #[schema(example = "ok")]
    pub status: &'static str,
}

impl Health {
    pub(crate) const OK: Self = Self { status: "ok" };
}

/// Check that the process is alive
#[utoipa::path(
    get, path = "/healthz", tag = "probes", operation_id = "healthz", security(()),
    responses((status = 200, description = "The process is alive.", body = Health))
)]
pub async fn handle() -> Json<Health> {
    Json(Health::OK)
}
