//! Connect an AWS account.

mod check;
pub mod error;
pub mod preflight;
pub mod renew;
pub mod rule_role;

use serde_json::{Value, json};

use self::check::{Confirmed, confirm};
use super::{MAX_TRIES, StoredConnection, contention, record};
use crate::clients::aws::Aws;
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::commands::idempotency::{Idempotent, KeyedTransaction, stored_answer};
use crate::db::Db;
use crate::db::connections::update::{NewAws, update_aws};
use crate::db::connections::{AwsOwner, insert_aws};
use crate::db::idempotency::IdempotencyKey;
use crate::domain::audit::Action;
use crate::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, TargetRoleRequest};
use crate::domain::event_route;
use crate::domain::ids;
use crate::domain::message::Message;
use crate::domain::principal::{Caller, Role, Scope};
use crate::domain::tenant::aws_tenant;
use crate::domain::validate::FieldRefusal;

/// Credentials that a caller gives: valid keys, or a valid role.
#[derive(Clone, Debug)]
pub enum GivenCredentials {
    /// Access keys.
    Keys(AwsKeys),
    /// ARN of a role in the region's partition.
    Role(String),
}

/// Returns the repositories that a new connection serves: those given, or the caller's scope.
///
/// # Errors
/// [`CommandError::OutOfScope`] when the given ones exceed the caller's.
pub fn connection_scope(by: &Caller, given: Option<Scope>) -> Result<Scope, CommandError> {
    match given {
        None => Ok(by.scope().clone()),
        Some(scope) if by.scope().includes(&scope) => Ok(scope),
        Some(scope) => Err(CommandError::OutOfScope(Message::verbatim(scope.to_string()))),
    }
}

/// Checks that a given role for the target of an account's rules belongs to the account: EventBridge refuses any other.
fn check_target_role(role: &TargetRoleRequest, account_id: &str, region: &str) -> Result<(), FieldRefusal> {
    let TargetRoleRequest::Set(role) = role else { return Ok(()) };
    event_route::check_target_role(role, account_id, region)
        .map_err(|rule| FieldRefusal::new("ruleTargetRoleArn", rule))
}

/// Stores a connection for the repositories of `scope` once STS confirmed the credentials, with `answer` under the key. Returns the credentials as they
/// are stored.
///
/// # Errors
/// The caller's role or scope is too small, AWS refuses the credentials or does not answer, or the role does not require the external id.
pub async fn connect(
    db: &Db,
    aws: &Aws,
    (region, given, scope): (String, GivenCredentials, &Scope),
    target_role: &TargetRoleRequest,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl Fn(&str, &AwsCredentials) -> Value,
) -> Result<Idempotent<(StoredConnection, AwsConnection)>, CommandError> {
    require_role(by, Role::Deployer)?;
    // Checked before AWS is called, so that a repeat succeeds even when its credentials have expired.
    if let Some(answer) = stored_answer(db, key).await? {
        return Ok(Idempotent::Replayed(answer));
    }
    // The external id is derived from the caller's scope, not from the chosen narrower one, which could equal another tenant's scope.
    let Confirmed { credentials, account_id, identity } =
        confirm(aws, &region, given, async || db.external_id(by.scope()).await).await?;
    check_target_role(target_role, &account_id, &region)?;
    let rule_target_role_arn = match target_role {
        TargetRoleRequest::Set(role) => Some(role.clone()),
        TargetRoleRequest::Keep | TargetRoleRequest::Remove => None,
    };
    let new = AwsConnection { id: ids::aws_connection_id(), region, account_id, credentials, rule_target_role_arn };
    let answer = |stored: &StoredConnection| answer(&stored.id, &new.credentials);
    let stored = store(db, &new, (&identity, scope), target_role, key, by, answer).await?;
    Ok(match stored {
        Idempotent::Fresh(stored) => Idempotent::Fresh((stored, new)),
        Idempotent::Replayed(answer) => Idempotent::Replayed(answer),
    })
}

/// Stores a connection. `identity` is the AWS principal that the credentials belong to.
async fn store(
    db: &Db,
    new: &AwsConnection,
    (identity, scope): (&str, &Scope),
    target_role: &TargetRoleRequest,
    key: Option<&IdempotencyKey>,
    by: &Caller,
    answer: impl Fn(&StoredConnection) -> Value,
) -> Result<Idempotent<StoredConnection>, CommandError> {
    let tenant = aws_tenant(by.scope(), scope);
    for _ in 0..MAX_TRIES {
        let known = db.same_aws(&tenant, new, identity).await?;
        let id = known.as_ref().unwrap_or(&new.id);
        // Before the transaction, because a key service may be called.
        let row_key = db.aws_row_key(id).await?;
        let mut tx = KeyedTransaction::begin(db, key).await?;
        if let Some(answer) = tx.repeated().await? {
            return Ok(Idempotent::Replayed(answer));
        }
        let rows = if let Some(id) = &known {
            let credentials = &new.credentials;
            update_aws(&mut tx, id, &row_key, NewAws { credentials, identity, target_role }).await?
        } else {
            let owner = AwsOwner { scope, tenant: Some(&tenant), identity: Some(identity) };
            insert_aws(&mut tx, &row_key, new, owner).await?
        };
        if rows == 0 {
            continue;
        }
        let stored = StoredConnection { id: id.clone(), renewed: known.is_some() };
        let details = json!({
            "accountId": new.account_id, "region": new.region, "identity": identity, "repositories": scope.sql(),
            "renewed": stored.renewed, "ruleTargetRoleArn": new.rule_target_role_arn,
        });
        record(&mut tx, by, Action::ConnectAws, &stored.id, None, details).await?;
        tx.commit(&answer(&stored)).await?;
        return Ok(Idempotent::Fresh(stored));
    }
    Err(contention().into())
}
