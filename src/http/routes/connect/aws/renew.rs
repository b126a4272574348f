//! `PUT /api/v1/connect/aws/{id}`: replaces the credentials of a connection by others of the same account.

use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::check::{Confirmed, confirm};
use super::fields::{CredentialFields, GivenCredentials};
use super::{AwsConnected, CONNECTED};
use crate::db::connections::renew::{AwsTarget, Renewed};
use crate::domain::aws_role::RoleArn;
use crate::domain::connection::AwsCredentials;
use crate::domain::principal::{Caller, Scope};
use crate::domain::tenant::aws_tenant;
use crate::http::ApiState;
use crate::http::auth::{Deployer, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;
use crate::http::routes::connect::aws::error::AwsConnectError;
use crate::http::routes::connect::error::ConnectError;
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
    let target = state.db.aws_target(&id, &caller).await?;
    let target = target.ok_or_else(|| ConnectError::NotFound(id.clone()))?;
    let given = body.credentials(&id, &target)?;
    let Confirmed { credentials, account_id, identity } = match &given {
        GivenCredentials::Keys(_) => {
            confirm(&state, &target.region, given, async || state.db.external_id(caller.scope()).await).await?
        }
        GivenCredentials::Role(role_arn) => {
            let external_id = external_id(&state, &caller, &id, &target, role_arn).await?;
            confirm(&state, &target.region, given, async || Ok(external_id)).await?
        }
    };
    if account_id != target.account_id {
        return Err(differs(&id, "accessKeyId", format!("the account {}", target.account_id)));
    }
    // The connection gets the external id of this caller's scope, and with it becomes this tenant's.
    let adopts = target.role_arn.is_some() && !target.external_id_derived;
    let tenant = adopts.then(|| aws_tenant(caller.scope(), &target.scope));
    match state.db.renew_aws(&id, &credentials, &identity, tenant.as_deref(), &caller).await? {
        Renewed::Now => {}
        Renewed::Unknown => return Err(ConnectError::NotFound(id).into()),
        Renewed::Taken(other) => return Err(AwsConnectError::IdentityTaken(other).into()),
    }
    tracing::info!(connection = %id, account = %account_id, "AWS connection renewed");
    Ok(Envelope::new(CONNECTED, AwsConnected::new(&id, &credentials)))
}

impl RenewAws {
    /// Validates the fields, and that they agree with the connection.
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
        let given = fields.validate(&target.region)?;
        match (&given, &target.role_arn) {
            (GivenCredentials::Keys(_), None) => {}
            (GivenCredentials::Keys(_), Some(role)) => {
                return Err(differs(id, "accessKeyId", format!("the role {role}")));
            }
            (GivenCredentials::Role(_), None) => return Err(differs(id, "roleArn", "access keys".to_owned())),
            (GivenCredentials::Role(role), Some(_)) => {
                if RoleArn::parse(role).is_ok_and(|role| role.account != target.account_id) {
                    return Err(differs(id, "roleArn", format!("the account {}", target.account_id)));
                }
            }
        }
        Ok(given)
    }
}

/// The external id to send: the stored one, which the trust policy requires already. Only the tenant for which it was derived may use it with
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
    let connection = state.db.aws_connection(id).await?.ok_or_else(|| ConnectError::NotFound(id.to_owned()))?;
    let AwsCredentials::Role { role_arn: connected, external_id: Some(stored) } = connection.credentials else {
        return Ok(derived);
    };
    if connected != role_arn && stored.expose_secret() != derived.expose_secret() {
        return Err(differs(id, "roleArn", format!("the role {connected}, connected with another scope")));
    }
    Ok(stored)
}

fn differs(id: &str, field: &'static str, connected: String) -> ApiError {
    ConnectError::Differs { id: id.to_owned(), field, connected }.into()
}
