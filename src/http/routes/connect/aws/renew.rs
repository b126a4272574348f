//! `PUT /api/v1/connect/aws/{id}`: replaces the credentials of a connection by others of the same account.

use axum::extract::State;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{CredentialFields, TargetRoleField, present, target_role};
use super::{AwsConnected, CONNECTED};
use crate::commands::connect::aws::GivenCredentials;
use crate::commands::connect::aws::renew::{renew, renewable};
use crate::commands::connect::error::ConnectError;
use crate::db::connections::renew::AwsTarget;
use crate::domain::principal::Scope;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::routes::connect::path::ConnectionId;

// ---- Request

/// Access keys (`accessKeyId`, `secretAccessKey`, `sessionToken`) for a connection with keys, or a role (`roleArn`) for one with a role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RenewAws {
    /// The connection's region; it cannot be changed.
    #[schema(nullable, example = "ap-northeast-2")]
    pub region: Option<String>,
    /// Access key id of an IAM user (`AKIA…`) or of a session (`ASIA…`), in the connection's account.
    #[schema(nullable, example = "AKIAIOSFODNN7EXAMPLE", min_length = 16, max_length = 128)]
    pub access_key_id: Option<String>,
    /// Secret access key. Never returned.
    #[schema(value_type = Option<String>, format = Password, write_only, example = "…", max_length = 256)]
    pub secret_access_key: Option<SecretString>,
    /// Session token of temporary keys. Never returned.
    #[schema(value_type = Option<String>, format = Password, write_only, max_length = 8192)]
    pub session_token: Option<SecretString>,
    /// Role of the connection's account. Its trust policy must require the external id of the response.
    #[schema(nullable, example = "arn:aws:iam::123456789012:role/panda")]
    pub role_arn: Option<String>,
    /// Role of the account that EventBridge assumes to put events on the controller's bus; required where the bus is in another account or region,
    /// unless the server has a default. Absent keeps the connection's role, and null removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, example = "arn:aws:iam::123456789012:role/panda-events")]
    pub rule_target_role_arn: TargetRoleField,
    /// Parsed only to reject it with an explanation: Panda derives the external id.
    #[schema(ignore)]
    pub external_id: Option<Value>,
    /// The connection's repositories; they cannot be changed.
    #[schema(nullable, example = json!(["acme/*"]), max_items = 100)]
    pub repositories: Option<Vec<String>>,
}

// ---- Handler

/// Renew an AWS connection
///
/// Stores new access keys of the connection's account, or its role again after a change of the trust policy, after a check with STS. The id does not
/// change: running deployments and schedules use the new credentials. Another account, region or kind of credentials needs a new connection.
/// A caller with a limited scope may renew connections within that scope only.
#[utoipa::path(
    put, path = "/api/v1/connect/aws/{id}", tag = "connections", operation_id = "renewAws",
    params(("id" = String, Path, description = "Id of the connection.", example = "aws_4k1zq0v7w3m9x2c8b5n6")),
    request_body(content = RenewAws, examples(
        ("keys" = (summary = "Access keys", value = json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "…"}))),
        ("role" = (summary = "A role", value = json!({"roleArn": "arn:aws:iam::123456789012:role/panda"}))),
    )),
    responses(
        (status = 200, description = "The connection is renewed.", body = Envelope<AwsConnected>),
        (status = 400, description = "Malformed JSON, an invalid field, credentials that AWS rejects, or a role that Panda may not assume: `field` names the field.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such AWS connection that the caller may renew.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The credentials have another account, region or kind, another connection has them, or the role's trust policy does not \
                                      require the external id that `externalId` names.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS is unavailable.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    ConnectionId(id): ConnectionId,
    JsonBody(body): JsonBody<RenewAws>,
) -> Result<Envelope<AwsConnected>, ApiError> {
    let target = renewable(&state.db, &id, &caller).await?;
    let target_role = target_role(body.rule_target_role_arn.clone())?;
    let given = body.credentials(&id, &target)?;
    let credentials = renew(&state.db, &state.aws, &id, (&target, given), &target_role, &caller).await?;
    tracing::info!(connection = %id, account = %target.account_id, "AWS connection renewed");
    Ok(Envelope::new(CONNECTED, AwsConnected::new(&id, &credentials)))
}

impl RenewAws {
    /// Validates the fields, and that region and repositories are the connection's.
    ///
    /// # Errors
    /// [`ConnectError::Differs`] for a contradicting field; [`ApiError::Input`] for an invalid one.
    fn credentials(self, id: &str, target: &AwsTarget) -> Result<GivenCredentials, ApiError> {
        if self.region.is_some_and(|region| region != target.region) {
            return Err(differs(id, "region", format!("the region {}", target.region)));
        }
        if let Some(names) = &self.repositories {
            let scope = Scope::of(names).map_err(|rule| ApiError::field("repositories", rule))?;
            if scope.canonical() != target.scope.canonical() {
                return Err(differs(id, "repositories", format!("the repositories {}", target.scope)));
            }
        }
        let fields = CredentialFields {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session_token: self.session_token,
            role_arn: self.role_arn,
            external_id: self.external_id,
        };
        fields.validate(&target.region)
    }
}

fn differs(id: &str, field: &'static str, connected: String) -> ApiError {
    ConnectError::Differs { id: id.to_owned(), field, connected }.into()
}
