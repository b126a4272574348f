//! `POST /api/v1/connect/aws`: keep access keys, or a role to assume, after STS said whose they are.

mod check;
mod fields;
pub mod renew;

use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::check::{Confirmed, confirm};
use self::fields::{Fields, Given};
use crate::db::connections::connect::Stored;
use crate::db::idempotency::Once;
use crate::domain::connection::{AwsConnection, AwsCredentials};
use crate::domain::principal::Scope;
use crate::domain::{ids, validate};
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::{KeyHeader, kept_answer};
use crate::http::problem::Problem;

/// What is answered to a connection that was made or renewed.
const CONNECTED: &str = "AWS 연결에 성공했습니다.";

// ---- What it takes

/// A region with either access keys (`accessKeyId`, `secretAccessKey`, `sessionToken`) or a role (`roleArn`).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConnectAws {
    /// Region to deploy to.
    #[schema(example = "ap-northeast-2")]
    pub region: String,
    /// Access key id.
    #[schema(nullable, example = "AKIAIOSFODNN7EXAMPLE", min_length = 16, max_length = 128)]
    pub access_key_id: Option<String>,
    /// Secret access key. Never shown again.
    #[schema(value_type = Option<String>, format = Password, write_only, example = "…", max_length = 256)]
    pub secret_access_key: Option<SecretString>,
    /// Session token, with temporary keys. Never shown again.
    #[schema(value_type = Option<String>, format = Password, write_only, max_length = 8192)]
    pub session_token: Option<SecretString>,
    /// Role to assume with the controller's own credentials; no keys are stored then. Its trust policy must require the external id that the
    /// answer names.
    #[schema(nullable, example = "arn:aws:iam::123456789012:role/panda")]
    pub role_arn: Option<String>,
    /// Known in order to be refused: Panda derives the external id.
    #[schema(ignore)]
    pub external_id: Option<Value>,
    /// Repositories that may be deployed with it, as `owner/repo` or `owner/*`; those that the caller may see when absent. Callers who do
    /// not see all repositories see only connections that are for some.
    #[schema(nullable, example = json!(["acme/*"]), max_items = 100)]
    pub repositories: Option<Vec<String>>,
}

impl ConnectAws {
    /// All fields, to tell one request from another by their hash.
    fn meaning(&self) -> Value {
        let secret = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        json!([
            self.region,
            self.access_key_id,
            secret(&self.secret_access_key),
            secret(&self.session_token),
            self.role_arn,
            self.repositories
        ])
    }

    /// What it is for, which is no more than what the caller sees.
    fn scope(&self, caller: &Scope) -> Result<Scope, ApiError> {
        let Some(repositories) = &self.repositories else { return Ok(caller.clone()) };
        let scope = Scope::of(repositories).map_err(|rule| ApiError::field("repositories", rule))?;
        if caller.includes(&scope) { Ok(scope) } else { Err(ApiError::OutOfScope(scope.to_string())) }
    }

    fn given(self) -> Result<Given, ApiError> {
        let fields = Fields {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session_token: self.session_token,
            role_arn: self.role_arn,
            external_id: self.external_id,
        };
        fields.given(&self.region)
    }
}

// ---- What it answers

/// The connection: a new one, or the same one renewed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsConnected {
    /// Names the connection when deploying.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// External id with which Panda assumes the role: derived for the scope that connected it. Absent with access keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "panda-0123456789abcdef0123456789abcdef")]
    pub external_id: Option<String>,
}

impl AwsConnected {
    fn new(id: &str, credentials: &AwsCredentials) -> Self {
        let external_id = match credentials {
            AwsCredentials::Keys(_) => None,
            AwsCredentials::Role { external_id, .. } => external_id.as_ref().map(|id| id.expose_secret().to_owned()),
        };
        Self { aws_connection_id: id.to_owned(), external_id }
    }
}

// ---- The handler

/// Connect an AWS account
///
/// STS is asked whose the credentials are before anything is stored. Connecting the same account, region and identity for the same repositories
/// again renews that connection.
///
/// A role is assumed with an external id that Panda derives for the caller's scope, and only when its trust policy requires that id: until then the
/// answer is 409 with the id. Roles of the controller's own account are refused unless `PANDA_CONTROLLER_ROLES` names them.
#[utoipa::path(
    post, path = "/api/v1/connect/aws", tag = "connections", operation_id = "connectAws",
    request_body(content = ConnectAws, examples(
        ("keys" = (summary = "Access keys", value = json!({"region": "ap-northeast-2", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "…"}))),
        ("role" = (summary = "A role", value = json!({"region": "ap-northeast-2", "roleArn": "arn:aws:iam::123456789012:role/panda"}))),
    )),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "Connected, or renewed.", body = Envelope<AwsConnected>),
        (status = 400, description = "Malformed JSON, a field is not valid, AWS refuses the credentials, or Panda does not assume this role: `field` names it.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect, or not for these repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The role's trust policy does not require the external id that `externalId` names.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS cannot be asked.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    key: KeyHeader,
    JsonBody(body): JsonBody<ConnectAws>,
) -> Result<Json<Value>, ApiError> {
    validate::region(&body.region, &state.config.extra_regions).map_err(|rule| ApiError::field("region", rule))?;
    let region = body.region.clone();
    let key = key.of(&caller, "POST /api/v1/connect/aws", &body.meaning())?;
    let scope = body.scope(caller.scope())?;
    let given = body.given()?;
    // Before anybody outside is asked: a repeat needs no token that is still good.
    if let Some(answer) = kept_answer(&state.db, key.as_ref()).await? {
        return Ok(Json(answer));
    }
    // The caller's scope, not the narrower one that they may choose: that may be another tenant's.
    let Confirmed { credentials, account_id, identity } =
        confirm(&state, &region, given, async || state.db.external_id(caller.scope()).await).await?;
    let connection = AwsConnection { id: ids::aws_connection_id(), region, account_id, credentials };
    let answer =
        |stored: &Stored| json!(Envelope::new(CONNECTED, AwsConnected::new(&stored.id, &connection.credentials)));
    let stored = match state.db.connect_aws(&connection, &identity, &scope, key.as_ref(), &caller, answer).await? {
        Once::Now(stored) => stored,
        Once::Repeated(answer) => return Ok(Json(answer)),
        Once::KeyReused => return Err(ApiError::IdempotencyKeyReused),
    };
    let (account, region, renewed) = (&connection.account_id, &connection.region, stored.renewed);
    tracing::info!(connection = %stored.id, %account, %region, renewed, "AWS connected");
    Ok(Json(answer(&stored)))
}
