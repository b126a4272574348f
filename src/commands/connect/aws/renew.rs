//! Renew an AWS connection: other credentials of the same account and kind. The id stays, and a running deployment reads the connection again before it
//! fails.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::check::{Confirmed, confirm};
use super::error::AwsConnectError;
use super::{GivenCredentials, check_target_role};
use crate::clients::aws::Aws;
use crate::commands::access::require_role;
use crate::commands::connect::error::ConnectError;
use crate::commands::connect::{MAX_RENEWAL_TRIES, record};
use crate::commands::error::CommandError;
use crate::db::Db;
use crate::db::connections::renew::{AwsTarget, identity_taken};
use crate::db::connections::update::{NewAws, update_aws};
use crate::domain::audit::Action;
use crate::domain::aws_role::RoleArn;
use crate::domain::connection::{AwsCredentials, TargetRoleRequest};
use crate::domain::principal::{Caller, Role};

/// Finds a connection that the caller may renew: every repository that it serves must be in the caller's scope, as for deletion.
///
/// # Errors
/// [`ConnectError::NotFound`] otherwise.
pub async fn renewable(db: &Db, id: &str, by: &Caller) -> Result<AwsTarget, CommandError> {
    let target = db.aws_target(id).await?.filter(|target| by.scope().includes(&target.scope));
    Ok(target.ok_or_else(|| ConnectError::NotFound(id.to_owned()))?)
}

/// Replaces the credentials of a [`renewable`] connection once STS confirmed them. Returns them as they are stored.
///
/// # Errors
/// The caller's role is too low, the credentials have another account or kind, another connection has them, AWS refuses them or does not answer, or
/// the role does not require the external id.
pub async fn renew(
    db: &Db,
    aws: &Aws,
    id: &str,
    (target, given): (&AwsTarget, GivenCredentials),
    target_role: &TargetRoleRequest,
    by: &Caller,
) -> Result<AwsCredentials, CommandError> {
    require_role(by, Role::Deployer)?;
    require_same_kind(id, target, &given)?;
    check_target_role(target_role, &target.account_id, &target.region)?;
    let Confirmed { credentials, account_id, identity } = match &given {
        GivenCredentials::Keys(_) => {
            confirm(aws, &target.region, given, async || db.external_id(by.scope()).await).await?
        }
        GivenCredentials::Role(role_arn) => {
            let external_id = external_id(db, by, id, role_arn).await?;
            confirm(aws, &target.region, given, async || Ok(external_id)).await?
        }
    };
    if account_id != target.account_id {
        return Err(differs(id, "accessKeyId", format!("the account {}", target.account_id)).into());
    }
    replace_credentials(db, id, (&credentials, &identity), target_role, by).await?;
    Ok(credentials)
}

fn require_same_kind(id: &str, target: &AwsTarget, given: &GivenCredentials) -> Result<(), ConnectError> {
    match (given, &target.role_arn) {
        (GivenCredentials::Keys(_), None) => Ok(()),
        (GivenCredentials::Keys(_), Some(role)) => Err(differs(id, "accessKeyId", format!("the role {role}"))),
        (GivenCredentials::Role(_), None) => Err(differs(id, "roleArn", "access keys".to_owned())),
        (GivenCredentials::Role(role), Some(_)) => {
            if RoleArn::parse(role).is_ok_and(|role| role.account != target.account_id) {
                return Err(differs(id, "roleArn", format!("the account {}", target.account_id)));
            }
            Ok(())
        }
    }
}

/// The external id to send: the stored one, which the trust policy requires already. Only the tenant for which it was derived may use it with
/// another role.
async fn external_id(db: &Db, by: &Caller, id: &str, role_arn: &str) -> Result<SecretString, CommandError> {
    let derived = db.external_id(by.scope()).await?;
    let connection = db.aws_connection(id).await?.ok_or_else(|| ConnectError::NotFound(id.to_owned()))?;
    let AwsCredentials::Role { role_arn: connected, external_id: stored } = connection.credentials else {
        return Ok(derived);
    };
    if connected != role_arn && stored.expose_secret() != derived.expose_secret() {
        return Err(differs(id, "roleArn", format!("the role {connected}, connected with another scope")).into());
    }
    Ok(stored)
}

fn differs(id: &str, field: &'static str, connected: String) -> ConnectError {
    ConnectError::Differs { id: id.to_owned(), field, connected }
}

/// Stores credentials that STS has confirmed for `identity`.
///
/// # Errors
/// The caller's scope has no such connection, it was removed meanwhile, or the tenant has another connection with this identity.
pub async fn replace_credentials(
    db: &Db,
    id: &str,
    (credentials, identity): (&AwsCredentials, &str),
    target_role: &TargetRoleRequest,
    by: &Caller,
) -> Result<(), CommandError> {
    // Before the transaction, because a key service may be called.
    let key = db.aws_row_key(id).await?;
    for _ in 0..MAX_RENEWAL_TRIES {
        let target = renewable(db, id, by).await?;
        let mut tx = db.begin().await?;
        if let Some(other) = identity_taken(&mut tx, id, identity).await? {
            return Err(AwsConnectError::IdentityTaken(other).into());
        }
        if update_aws(&mut tx, id, &key, NewAws { credentials, identity, target_role }).await? == 0 {
            continue;
        }
        let details = json!({"accountId": target.account_id, "region": target.region, "identity": identity});
        record(&mut tx, by, Action::RenewConnection, id, None, details).await?;
        return Ok(tx.commit().await?);
    }
    Err(ConnectError::NotFound(id.to_owned()).into())
}
