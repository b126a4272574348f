//! The role that EventBridge assumes for the target of Panda's rules in a connected account: what it would be, and its creation.
//!
//! The only command with an effect outside the database, because its caller requests exactly that effect, and the answer has to report it. Everything is
//! looked up first, so that a repetition after a crash continues where the last one ended: role, policy, connection. A role or policy with another
//! content is not overwritten. [Decision 0058](../../../../docs/decisions/0058-roles-and-the-bus-policy.md).

use serde_json::{Value, json};

use super::error::AwsConnectError;
use super::renew::renewable;
use crate::clients::aws::{Aws, Iam};
use crate::clients::{ClientError, ErrorKind};
use crate::commands::access::require_role;
use crate::commands::connect::error::ConnectError;
use crate::commands::connect::record;
use crate::commands::error::CommandError;
use crate::db::Db;
use crate::db::connections::update::set_target_role;
use crate::domain::audit::Action;
use crate::domain::event_route::TargetRole;
use crate::domain::mask::Mask;
use crate::domain::names::Names;
use crate::domain::principal::{Caller, Role};

/// State of the role in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleState {
    /// There is no such role.
    Absent,
    /// The role is there without its policy: an earlier creation was interrupted.
    Incomplete,
    /// Role and policy are as planned.
    Present,
    /// The role or its policy has another content.
    Differs,
}

/// The role as it is planned, and what is there.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRole {
    /// The role that would be created.
    pub role: TargetRole,
    /// State of the role in the account.
    pub state: RoleState,
    /// ARN of the event bus on which the role may put events.
    pub bus_arn: String,
}

/// Names that the role depends on.
#[derive(Clone, Copy, Debug)]
pub struct RoleNames<'a> {
    /// Name of the controller's event bus.
    pub event_bus: &'a str,
    /// Naming rules in AWS.
    pub names: &'a Names,
}

/// Plans the role of a connection's account and looks up whether it is there. Changes nothing.
///
/// # Errors
/// The caller's role is too low, there is no connection that it may renew, or AWS refuses or does not answer.
pub async fn plan(db: &Db, aws: &Aws, of: RoleNames<'_>, id: &str, by: &Caller) -> Result<PlannedRole, CommandError> {
    Ok(look_up(db, aws, of, id, by).await?.0)
}

/// Creates the planned role where it is missing, and stores it as the connection's.
///
/// # Errors
/// As [`plan`], and [`AwsConnectError::RuleRoleDiffers`] for a role or policy with another content.
pub async fn create(db: &Db, aws: &Aws, of: RoleNames<'_>, id: &str, by: &Caller) -> Result<PlannedRole, CommandError> {
    let (planned, iam, mask) = look_up(db, aws, of, id, by).await?;
    let role = &planned.role;
    if planned.state == RoleState::Differs {
        return Err(AwsConnectError::RuleRoleDiffers(role.arn.clone()).into());
    }
    if planned.state == RoleState::Absent {
        match iam.create_role(&role.name, &role.trust_policy).await {
            // Another request was faster: its role is the same.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            created => created.map_err(|error| failed(error, &mask))?,
        }
    }
    if planned.state != RoleState::Present {
        let put = iam.put_role_policy(&role.name, TargetRole::POLICY_NAME, &role.policy).await;
        put.map_err(|error| failed(error, &mask))?;
    }
    let mut tx = db.begin().await?;
    if set_target_role(&mut tx, id, &role.arn).await? == 0 {
        return Err(ConnectError::NotFound(id.to_owned()).into());
    }
    let details = json!({"ruleTargetRoleArn": role.arn, "created": planned.state != RoleState::Present});
    record(&mut tx, by, Action::CreateRuleRole, id, None, details).await?;
    tx.commit().await?;
    Ok(planned)
}

async fn look_up(
    db: &Db,
    aws: &Aws,
    of: RoleNames<'_>,
    id: &str,
    by: &Caller,
) -> Result<(PlannedRole, Iam, Mask), CommandError> {
    require_role(by, Role::Deployer)?;
    renewable(db, id, by).await?;
    let connection = db.aws_connection(id).await?.ok_or_else(|| ConnectError::NotFound(id.to_owned()))?;
    let mask = Mask::of(connection.credentials.secrets());
    let bus = aws.controller().bus.describe(of.event_bus).await.map_err(|error| failed(error, &mask))?;
    let role = TargetRole::new(&bus.arn, &connection.account_id, &connection.region, of.names.rule_prefix());
    let iam = aws.user_of(&connection, &connection.region).iam;
    let state = state_of(&iam, &role).await.map_err(|error| failed(error, &mask))?;
    Ok((PlannedRole { role, state, bus_arn: bus.arn }, iam, mask))
}

async fn state_of(iam: &Iam, role: &TargetRole) -> Result<RoleState, ClientError> {
    let Some(trust) = iam.trust_policy(&role.name).await? else { return Ok(RoleState::Absent) };
    let policy = iam.role_policy(&role.name, TargetRole::POLICY_NAME).await?;
    let is = |found: &Value, planned: &Value| found == planned;
    Ok(match policy {
        _ if !is(&trust, &role.trust_policy) => RoleState::Differs,
        None => RoleState::Incomplete,
        Some(policy) if is(&policy, &role.policy) => RoleState::Present,
        Some(_) => RoleState::Differs,
    })
}

fn failed(mut error: ClientError, mask: &Mask) -> CommandError {
    mask.string(&mut error.message);
    match error.kind {
        ErrorKind::Denied
        | ErrorKind::Credentials
        | ErrorKind::Invalid
        | ErrorKind::LimitExceeded
        | ErrorKind::NotFound => AwsConnectError::RuleRoleRefused(error.to_string()),
        ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Unavailable => AwsConnectError::Unavailable(error),
    }
    .into()
}
