//! `POST /api/v1/connect/aws`: keep access keys, or a role to assume, after STS said whose they are.

use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::clients::{ClientError, ErrorKind};
use crate::db::idempotency::Once;
use crate::domain::connection::{AwsConnection, AwsCredentials, AwsKeys};
use crate::domain::mask::Mask;
use crate::domain::principal::Scope;
use crate::domain::{ids, validate};
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::{KeyHeader, kept_answer};
use crate::http::problem::Problem;

/// Longest secret access key, in bytes; those of today have 40.
const MAX_SECRET_KEY: usize = 256;

/// Longest session token, in bytes. AWS states no limit; those of today have some hundreds.
const MAX_SESSION_TOKEN: usize = 8_192;

/// Longest external id, by STS's own rule.
const MAX_EXTERNAL_ID: usize = 1_224;

// ---- What it takes

/// A region with either access keys (`accessKeyId`, `secretAccessKey`, `sessionToken`) or a role (`roleArn`, `externalId`).
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
    /// Role to assume with the controller's own credentials; no keys are stored then.
    #[schema(nullable, example = "arn:aws:iam::123456789012:role/panda")]
    pub role_arn: Option<String>,
    /// External id that the role's trust policy asks for. Never shown again.
    #[schema(value_type = Option<String>, format = Password, write_only, max_length = 1224)]
    pub external_id: Option<SecretString>,
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
            secret(&self.external_id),
            self.repositories
        ])
    }

    /// What it is for, which is no more than what the caller sees.
    fn scope(&self, caller: &Scope) -> Result<Scope, ApiError> {
        let Some(repositories) = &self.repositories else { return Ok(caller.clone()) };
        let scope = Scope::of(repositories).map_err(|rule| ApiError::field("repositories", rule))?;
        if caller.includes(&scope) { Ok(scope) } else { Err(ApiError::OutOfScope(scope.to_string())) }
    }

    fn credentials(self) -> Result<AwsCredentials, ApiError> {
        let Some(role_arn) = self.role_arn else { return self.keys() };
        let keys = [
            ("accessKeyId", self.access_key_id.is_some()),
            ("secretAccessKey", self.secret_access_key.is_some()),
            ("sessionToken", self.session_token.is_some()),
        ];
        if let Some((field, _)) = keys.into_iter().find(|(_, given)| *given) {
            return Err(ApiError::field(field, "must not be given beside roleArn: give either keys or a role"));
        }
        validate::role_arn(&role_arn).map_err(|rule| ApiError::field("roleArn", rule))?;
        check_secret("externalId", self.external_id.as_ref(), MAX_EXTERNAL_ID)?;
        Ok(AwsCredentials::Role { role_arn, external_id: self.external_id })
    }

    fn keys(self) -> Result<AwsCredentials, ApiError> {
        if self.external_id.is_some() {
            return Err(ApiError::field("externalId", "belongs to roleArn, which is missing"));
        }
        let missing = |field| ApiError::field(field, "is missing; give accessKeyId and secretAccessKey, or roleArn");
        let access_key_id = self.access_key_id.ok_or_else(|| missing("accessKeyId"))?;
        let secret_access_key = self.secret_access_key.ok_or_else(|| missing("secretAccessKey"))?;
        validate::access_key_id(&access_key_id).map_err(|rule| ApiError::field("accessKeyId", rule))?;
        check_secret("secretAccessKey", Some(&secret_access_key), MAX_SECRET_KEY)?;
        check_secret("sessionToken", self.session_token.as_ref(), MAX_SESSION_TOKEN)?;
        Ok(AwsCredentials::Keys(AwsKeys { access_key_id, secret_access_key, session_token: self.session_token }))
    }
}

fn check_secret(field: &str, secret: Option<&SecretString>, max: usize) -> Result<(), ApiError> {
    let Some(secret) = secret else { return Ok(()) };
    validate::secret(secret.expose_secret(), max).map_err(|rule| ApiError::field(field, rule))
}

// ---- What it answers

/// The new connection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsConnected {
    /// Names the connection when deploying.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
}

// ---- The handler

/// Connect an AWS account
///
/// STS is asked whose the credentials are before anything is stored.
#[utoipa::path(
    post, path = "/api/v1/connect/aws", tag = "connections", operation_id = "connectAws",
    request_body(content = ConnectAws, examples(
        ("keys" = (summary = "Access keys", value = json!({"region": "ap-northeast-2", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "…"}))),
        ("role" = (summary = "A role", value = json!({"region": "ap-northeast-2", "roleArn": "arn:aws:iam::123456789012:role/panda", "externalId": "panda"}))),
    )),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, new for each new request; the first answer is kept for 24 hours.",
            example = "3f2b6c1e-5d0f-4a53-9d53-6f8f2a1c7e10", max_length = 255)),
    responses(
        (status = 200, description = "Connected.", body = Envelope<AwsConnected>),
        (status = 400, description = "Malformed JSON, a field is not valid, or AWS refuses the credentials: `field` names it.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect, or not for these repositories.", body = Problem, content_type = "application/problem+json"),
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
    let credentials = body.credentials()?;
    // Before anybody outside is asked: a repeat needs no token that is still good.
    if let Some(answer) = kept_answer(&state.db, key.as_ref()).await? {
        return Ok(Json(answer));
    }
    let id = ids::aws_connection_id();
    let identity = state
        .aws
        .user(&id, &region, &credentials)
        .sts
        .caller_identity()
        .await
        .map_err(|error| not_confirmed(&credentials, error))?;
    let connection = AwsConnection { id, region, account_id: identity.account_id, credentials };
    let answer =
        json!(Envelope::new("AWS 연결에 성공했습니다.", AwsConnected { aws_connection_id: connection.id.clone() }));
    match state.db.insert_aws_connection_once(&connection, &scope, key.as_ref(), &caller, &answer).await? {
        Once::Now(()) => {}
        Once::Repeated(answer) => return Ok(Json(answer)),
        Once::KeyReused => return Err(ApiError::IdempotencyKeyReused),
    }
    tracing::info!(connection = %connection.id, account = %connection.account_id, region = %connection.region, "AWS connected");
    Ok(Json(answer))
}

/// `GetCallerIdentity` needs no right: whoever is denied has wrong credentials.
fn not_confirmed(credentials: &AwsCredentials, mut error: ClientError) -> ApiError {
    Mask::of(credentials.secrets()).string(&mut error.message);
    let field = match credentials {
        AwsCredentials::Keys(_) => "accessKeyId",
        AwsCredentials::Role { .. } => "roleArn",
    };
    match error.kind {
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::NotFound => {
            ApiError::AwsRefused { field, reason: error.message }
        }
        ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Unavailable => ApiError::AwsUnavailable(error),
    }
}
