//! Checks the gates of a policy before it is stored: what cannot be measured now would hold a switch later.

use crate::clients::aws::Aws;
use crate::clients::gates::{self, GateClient, GateSecrets};
use crate::commands::error::CommandError;
use crate::db::policies::PolicyTarget;
use crate::db::{Db, DbError};
use crate::domain::gate::{Gate, GateCheck, GatePoint, GateReading};
use crate::domain::message::{Message, message};
use crate::domain::validate::FieldRefusal;

/// Clients that measure gates.
#[derive(Clone, Copy)]
pub struct GateClients<'a> {
    /// Clients for the accounts of connections.
    pub aws: &'a Aws,
    /// Client for queries and requests.
    pub gates: &'a GateClient,
}

/// Checks that each gate can be measured: its secrets and alarm exist, its query returns a number or nothing, and the target's back end has its point.
///
/// # Errors
/// The first gate that cannot be measured, by its field.
pub async fn check_gates(
    db: &Db,
    clients: GateClients<'_>,
    target: &PolicyTarget,
    gates: &[Gate],
) -> Result<(), CommandError> {
    if gates.is_empty() {
        return Ok(());
    }
    let secrets = secrets(db, target).await?;
    for (index, gate) in gates.iter().enumerate() {
        let refused = |field: &str, rule: Message| FieldRefusal::new(format!("gates[{index}].{field}"), rule);
        if gate.at == GatePoint::EachStep && db.is_deployed_by_code_deploy(target).await? {
            return Err(refused("at", message!("rule.gate_each_step")).into());
        }
        for (name, secret) in gate.headers().into_iter().flatten() {
            if !secrets.contains_key(secret) {
                let field = format!("{}.headers.{name}", gate.kind());
                return Err(refused(&field, message!("gate.no_secret", name = secret)).into());
            }
        }
        let (field, reading) = match &gate.check {
            GateCheck::Http(_) => continue,
            GateCheck::Prometheus(check) => ("prometheus.query", clients.gates.prometheus(check, &secrets).await),
            GateCheck::Alarm(_) if target.account_id.is_empty() => {
                return Err(refused("alarm", message!("rule.gate_place")).into());
            }
            GateCheck::Alarm(check) => {
                let Some(connection) = db.aws_connection_to(target).await? else {
                    return Err(refused("alarm", message!("rule.gate_connection")).into());
                };
                let user = clients.aws.user_of(&connection, &target.region);
                let place = (target.account_id.as_str(), target.region.as_str());
                let read = gates::alarm(&user.alarms, check, place).await;
                let unread = |error: &dyn std::fmt::Display| message!("gate.unread", error = error.to_string());
                ("alarm.name", read.unwrap_or_else(|error| GateReading::Unreadable(unread(&error))))
            }
        };
        if let GateReading::Unreadable(why) = reading {
            return Err(refused(field, message!("rule.gate_unusable", why)).into());
        }
    }
    Ok(())
}

/// The build secrets of the repository's newest connection.
async fn secrets(db: &Db, target: &PolicyTarget) -> Result<GateSecrets, DbError> {
    let connection = db.github_connection_to(&target.owner, &target.repo).await?;
    Ok(connection.map(|connection| connection.build_secrets).unwrap_or_default())
}
