//! `GET /healthz`: whether the process is alive. Asks nobody: a restart would not bring a database back.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// A probe's answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`: anything else is a problem with another status.
    #[schema(example = "ok")]
    pub status: &'static str,
}

impl Health {
    /// All is well.
    pub const OK: Self = Self { status: "ok" };
}

/// Liveness.
#[utoipa::path(
    get, path = "/healthz", tag = "probes", operation_id = "healthz", security(()),
    responses((status = 200, description = "The process is alive.", body = Health))
)]
pub async fn handle() -> Json<Health> {
    Json(Health::OK)
}
