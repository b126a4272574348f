//! `PUT /api/v1/connect/aws/{id}`: new credentials of the same account for a connection that is there.

use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::check::{Confirmed, confirm};
use super::fields::{Fields, Given};
use super::{AwsConnected, CONNECTED};
use crate::db::connections::renew::{AwsTarget, Renewed};
use crate::domain::aws_role::RoleArn;
use crate::domain::connection::AwsCredentials;
use crate::domain::principal::{Caller, Scope};
use crate::domain::tenant::aws_tenant;
use crate::http::ApiState;
use crate::http::auth::{Allowed, Deployer};
use crate::http::envelope::Envelope;
use crate::http::error::{ApiError, AwsProblem};
use crate::http::extract::{ConnectionId, JsonBody};
use crate::http::problem::Problem;

// ---- What it takes

/// Access keys (`accessKeyId`, `secretAccessKey`, `sessionToken`) for a connection with keys, or a role (`roleArn`) for one with a role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RenewAws {
    /// The connection's region; it cannot be changed.
    #[schema(nullable, example = "ap-northeast-2")]
    pub region: Option<String>,
    /// Access key id.
    #[schema(nullable, example = "AKIAIOSFODNN7EXAMPLE", min_length = 16, max_length = 128)]
    pub access_key_id: Option<String>,
    /// Secret access key. Never shown again.
    #[schema(value_type = Option<String>, format = Password, write_only, example = "…", max_length = 256)]
    pub secret_access_key: Option<SecretString>,
    /// Session token, with temporary keys. Never shown again.
    #[schema(value_type = Option<String>, format = Password, write_only, max_length = 8192)]
    pub session_token: Option<SecretString>,
    /// Role of the connection's account. Its trust policy must require the external id that the answer names.
    #[schema(nullable, example = "arn:aws:iam::123456789012:role/panda")]
    pub role_arn: Option<String>,
    /// Known in order to be refused: Panda derives the external id.
    #[schema(ignore)]
    pub external_id: Option<Value>,
    /// The connection's repositories; they cannot be changed.
    #[schema(nullable, example = json!(["acme/*"]), max_items = 100)]
    pub repositories: Option<Vec<String>>,
}

// ---- The handler

/// Renew an AWS connection
///
/// Takes new access keys of the connection's account, or its role again after the trust policy was changed; STS is asked first, as on connecting. The id
/// stays: deployments that are under way and schedules use the new credentials. Another account, region or kind of credentials is another connection.
/// Those who see some repositories only may renew what is for these alone.
#[utoipa::path(
    put, path = "/api/v1/connect/aws/{id}", tag = "connections", operation_id = "renewAws",
    params(("id" = String, Path, description = "The connection.", example = "aws_4k1zq0v7w3m9x2c8b5n6")),
    request_body(content = RenewAws, examples(
        ("keys" = (summary = "Access keys", value = json!({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "…"}))),
        ("role" = (summary = "A role", value = json!({"roleArn": "arn:aws:iam::123456789012:role/panda"}))),
    )),
    responses(
        (status = 200, description = "Renewed.", body = Envelope<AwsConnected>),
        (status = 400, description = "Malformed JSON, a field is not valid, AWS refuses the credentials, or Panda does not assume this role: `field` names it.",
         body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller may not connect.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such connection to AWS that the caller may renew.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The credentials are of another account, region or kind, another connection has them, or the role's trust policy does not \
                                      require the external id that `externalId` names.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS cannot be asked.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Deployer>,
    ConnectionId(id): ConnectionId,
    JsonBody(body): JsonBody<RenewAws>,
) -> Result<Envelope<AwsConnected>, ApiError> {
    let target = state.db.aws_target(&id, &caller).await?;
    let target = target.ok_or_else(|| ApiError::ConnectionNotFound(id.clone()))?;
    let given = body.given(&id, &target)?;
    let Confirmed { credentials, account_id, identity } = match &given {
        Given::Keys(_) => {
            confirm(&state, &target.region, given, async || state.db.external_id(caller.scope()).await).await?
        }
        Given::Role(role_arn) => {
            let external_id = external_id(&state, &caller, &id, &target, role_arn).await?;
            confirm(&state, &target.region, given, async || Ok(external_id)).await?
        }
    };
    if account_id != target.account_id {
        return Err(differs(&id, "accessKeyId", format!("the account {}", target.account_id)));
    }
    // The role gets the external id of this caller's scope, whose connection it is from now on.
    let adopts = target.role_arn.is_some() && !target.external_id_derived;
    let tenant = adopts.then(|| aws_tenant(caller.scope(), &target.scope));
    match state.db.renew_aws(&id, &credentials, &identity, tenant.as_deref(), &caller).await? {
        Renewed::Now => {}
        Renewed::Unknown => return Err(ApiError::ConnectionNotFound(id)),
        Renewed::Taken(other) => return Err(AwsProblem::IdentityTaken(other).into()),
    }
    tracing::info!(connection = %id, account = %account_id, "AWS connection renewed");
    Ok(Envelope::new(CONNECTED, AwsConnected::new(&id, &credentials)))
}

impl RenewAws {
    /// The credentials, after all else was found to be the connection's.
    fn given(self, id: &str, target: &AwsTarget) -> Result<Given, ApiError> {
        if self.region.is_some_and(|region| region != target.region) {
            return Err(differs(id, "region", format!("the region {}", target.region)));
        }
        if let Some(names) = &self.repositories {
            let scope = Scope::of(names).map_err(|rule| ApiError::field("repositories", rule))?;
            if scope.canonical() != target.scope.canonical() {
                return Err(differs(id, "repositories", format!("the repositories {}", target.scope)));
            }
        }
        let fields = Fields {
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            session_token: self.session_token,
            role_arn: self.role_arn,
            external_id: self.external_id,
        };
        let given = fields.given(&target.region)?;
        match (&given, &target.role_arn) {
            (Given::Keys(_), None) => {}
            (Given::Keys(_), Some(role)) => return Err(differs(id, "accessKeyId", format!("the role {role}"))),
            (Given::Role(_), None) => return Err(differs(id, "roleArn", "access keys".to_owned())),
            (Given::Role(role), Some(_)) => {
                if RoleArn::parse(role).is_ok_and(|role| role.account != target.account_id) {
                    return Err(differs(id, "roleArn", format!("the account {}", target.account_id)));
                }
            }
        }
        Ok(given)
    }
}

/// The external id to send: the connection's own, which its trust policy requires already. Only the tenant that it is derived for may send it for
/// another role.
async fn external_id(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    target: &AwsTarget,
    role_arn: &str,
) -> Result<SecretString, ApiError> {
    let derived = state.db.external_id(caller.scope()).await?;
    if !target.external_id_derived {
        return Ok(derived);
    }
    let connection = state.db.aws_connection(id).await?.ok_or_else(|| ApiError::ConnectionNotFound(id.to_owned()))?;
    let AwsCredentials::Role { role_arn: connected, external_id: Some(stored) } = connection.credentials else {
        return Ok(derived);
    };
    if connected != role_arn && stored.expose_secret() != derived.expose_secret() {
        return Err(differs(id, "roleArn", format!("the role {connected}, connected with another scope")));
    }
    Ok(stored)
}

fn differs(id: &str, field: &'static str, connected: String) -> ApiError {
    ApiError::ConnectionDiffers { id: id.to_owned(), field, connected }
}
