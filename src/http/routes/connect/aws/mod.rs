//! `POST /api/v1/connect/aws`: stores access keys, or a role to assume, after STS confirmed them.

pub mod check;
pub mod error;
mod fields;
pub mod renew;
pub mod rule_role;

use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::fields::{CredentialFields, TargetRoleField, present, target_role};
use crate::commands::connect::aws::{GivenCredentials, connect, connection_scope};
use crate::commands::idempotency::Idempotent;
use crate::domain::connection::AwsCredentials;
use crate::domain::principal::{Caller, Scope};
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;

/// Message for a created or renewed connection.
const CONNECTED: &str = "AWS 연결에 성공했습니다.";

// ---- Request

/// A region with either access keys (`accessKeyId`, `secretAccessKey`, `sessionToken`) or a role (`roleArn`).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConnectAws {
    /// Region to deploy to.
    #[schema(example = "ap-northeast-2")]
    pub region: String,
    /// Access key id of an IAM user (`AKIA…`) or of a session (`ASIA…`).
    #[schema(nullable, example = "AKIAIOSFODNN7EXAMPLE", min_length = 16, max_length = 128)]
    pub access_key_id: Option<String>,
    /// Secret access key. Never returned.
    #[schema(value_type = Option<String>, format = Password, write_only, example = "…", max_length = 256)]
    pub secret_access_key: Option<SecretString>,
    /// Session token of temporary keys. Never returned.
    #[schema(value_type = Option<String>, format = Password, write_only, max_length = 8192)]
    pub session_token: Option<SecretString>,
    /// Role to assume with the controller's own credentials; no keys are stored. Its trust policy must require the external id of the
    /// response.
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
    /// Repositories that may be deployed with the connection, as `owner/repo` or `owner/*`; the caller's scope when absent. A caller with a limited
    /// scope does not see connections for all repositories.
    #[schema(nullable, example = json!(["acme/*"]), max_items = 100)]
    pub repositories: Option<Vec<String>>,
}

impl ConnectAws {
    /// All fields, for the hash that distinguishes requests with the same idempotency key.
    fn meaning(&self) -> Value {
        let secret = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        json!([
            self.region,
            self.access_key_id,
            secret(&self.secret_access_key),
            secret(&self.session_token),
            self.role_arn,
            self.repositories,
            self.rule_target_role_arn
        ])
    }

    /// Scope of the connection. It may not exceed the caller's.
    fn scope(&self, caller: &Caller) -> Result<Scope, ApiError> {
        let given = self.repositories.as_ref().map(|names| Scope::of(names)).transpose();
        let given = given.map_err(|rule| ApiError::field("repositories", rule))?;
        Ok(connection_scope(caller, given)?)
    }

    fn credentials(self) -> Result<GivenCredentials, ApiError> {
        let fields = CredentialFields {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session_token: self.session_token,
            role_arn: self.role_arn,
            external_id: self.external_id,
        };
        fields.validate(&self.region)
    }
}

// ---- Response

/// Id of the new or renewed connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsConnected {
    /// Id of the connection, for deployments.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// External id with which Panda assumes the role, derived for the scope of the caller who connected it. Absent with access keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "panda-0123456789abcdef0123456789abcdef")]
    pub external_id: Option<String>,
}

impl AwsConnected {
    fn new(id: &str, credentials: &AwsCredentials) -> Self {
        let external_id = match credentials {
            AwsCredentials::Keys(_) => None,
            AwsCredentials::Role { external_id, .. } => Some(external_id.expose_secret().to_owned()),
        };
        Self { aws_connection_id: id.to_owned(), external_id }
    }
}

// ---- Handler

/// Connect an AWS account
///
/// Checks the credentials with STS before anything is stored. Connecting the same account, region and identity for the same repositories
/// again renews that connection.
///
/// Panda assumes a role with an external id that it derives for the caller's scope, and only if the trust policy requires that id; otherwise the
/// response is 409 with the id. Roles of the controller's own account are refused unless `PANDA_CONTROLLER_ROLES` names them.
#[utoipa::path(
    post, path = "/api/v1/connect/aws", tag = "connections", operation_id = "connectAws",
    request_body(content = ConnectAws, examples(
        ("keys" = (summary = "Access keys", value = json!({"region": "ap-northeast-2", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "…"}))),
        ("role" = (summary = "A role", value = json!({"region": "ap-northeast-2", "roleArn": "arn:aws:iam::123456789012:role/panda"}))),
    )),
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "The connection is created or renewed.", body = Envelope<AwsConnected>),
        (status = 400, description = "Malformed JSON, an invalid field, credentials that AWS rejects, or a role that Panda may not assume: `field` names the field.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect, or the repositories exceed the caller's scope.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The role's trust policy does not require the external id that `externalId` names.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS is unavailable.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Deployer>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<ConnectAws>,
) -> Result<Json<Value>, ApiError> {
    validate::region(&body.region, &state.config.extra_regions).map_err(|rule| ApiError::field("region", rule))?;
    let region = body.region.clone();
    let key = key.key_for(&caller, "POST /api/v1/connect/aws", &body.meaning())?;
    let scope = body.scope(&caller)?;
    let target_role = target_role(body.rule_target_role_arn.clone())?;
    let given = body.credentials()?;
    let answer =
        |id: &str, credentials: &AwsCredentials| json!(Envelope::new(CONNECTED, AwsConnected::new(id, credentials)));
    match connect(&state.db, &state.aws, (region, given, &scope), &target_role, key.as_ref(), &caller, answer).await? {
        Idempotent::Fresh((stored, connection)) => {
            let (account, region, renewed) = (&connection.account_id, &connection.region, stored.renewed);
            tracing::info!(connection = %stored.id, %account, %region, renewed, "AWS connected");
            Ok(Json(answer(&stored.id, &connection.credentials)))
        }
        Idempotent::Replayed(answer) => Ok(Json(answer)),
    }
}
