//! `EventBridge`: rules in the user's account, the bus in the controller's.

use aws_config::SdkConfig;
use aws_sdk_eventbridge::{
    Client,
    types::{PutTargetsResultEntry, RuleState, Target},
};

use super::client;
use super::error::{failed, incomplete, unbuildable};
use super::observe::Observe;
use crate::clients::{ClientError, ErrorKind};

/// The rules of an account's default bus.
#[derive(Clone)]
pub struct EventRules {
    client: Client,
}

impl EventRules {
    pub(super) fn new(config: &SdkConfig, observe: &Observe) -> Self {
        Self { client: client!(aws_sdk_eventbridge, config, observe) }
    }

    /// Creates the rule or overwrites it, enabled: safe to repeat.
    pub async fn put_rule(&self, name: &str, event_pattern_json: &str, description: &str) -> Result<(), ClientError> {
        let rule = self.client.put_rule().name(name).event_pattern(event_pattern_json).description(description);
        let sent = rule.state(RuleState::Enabled).send().await;
        sent.map(drop).map_err(|error| failed("events:PutRule", &error))
    }

    /// Adds the target to the rule or overwrites it: safe to repeat. A rule without a target drops its events silently.
    pub async fn put_target(
        &self,
        rule: &str,
        target_id: &str,
        target_arn: &str,
        role_arn: Option<&str>,
    ) -> Result<(), ClientError> {
        const CALL: &str = "events:PutTargets";
        let target = Target::builder().id(target_id).arn(target_arn).set_role_arn(role_arn.map(str::to_owned));
        let target = target.build().map_err(|error| unbuildable(CALL, &error))?;
        let answer = self.client.put_targets().rule(rule).targets(target).send().await;
        let answer = answer.map_err(|error| failed(CALL, &error))?;
        if answer.failed_entry_count > 0 {
            return Err(refused(CALL, answer.failed_entries()));
        }
        Ok(())
    }
}

/// `PutTargets` says 200 even when it stored nothing: the entries tell.
fn refused(call: &'static str, entries: &[PutTargetsResultEntry]) -> ClientError {
    let entry = entries.first();
    let code = entry.and_then(PutTargetsResultEntry::error_code).unwrap_or("no error code");
    let message = entry.and_then(PutTargetsResultEntry::error_message).unwrap_or("the target was not stored");
    let kind = match code {
        "ConcurrentModificationException" | "InternalFailure" | "no error code" => ErrorKind::Unavailable,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        code if code.contains("Throttl") => ErrorKind::Throttled,
        code if code.contains("AccessDenied") => ErrorKind::Denied,
        _ => ErrorKind::Invalid,
    };
    ClientError::new(kind, call, format!("{message} ({code})"))
}

/// What a bus says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct BusDescription {
    /// Its ARN.
    pub arn: String,
    /// Its resource policy, when it has one.
    pub policy: Option<serde_json::Value>,
}

/// The event buses of the controller's account.
#[derive(Clone)]
pub struct EventBus {
    client: Client,
}

impl EventBus {
    pub(super) fn new(config: &SdkConfig, observe: &Observe) -> Self {
        Self { client: client!(aws_sdk_eventbridge, config, observe) }
    }

    /// The bus's ARN and policy.
    pub async fn describe(&self, bus_name: &str) -> Result<BusDescription, ClientError> {
        const CALL: &str = "events:DescribeEventBus";
        let answer = self.client.describe_event_bus().name(bus_name).send().await;
        let answer = answer.map_err(|error| failed(CALL, &error))?;
        let policy = match answer.policy.as_deref() {
            None | Some("") => None,
            Some(text) => Some(serde_json::from_str(text).map_err(|error| {
                ClientError::new(ErrorKind::Invalid, CALL, format!("the bus policy is not JSON: {error}"))
            })?),
        };
        Ok(BusDescription { arn: answer.arn.ok_or_else(|| incomplete(CALL, "ARN"))?, policy })
    }

    /// Lets an account put events on the bus. AWS reads, changes and writes the whole policy: calls made at the same
    /// time lose each other's statement, so the caller holds a lock and reads the policy back.
    pub async fn allow_account(&self, bus_name: &str, statement_id: &str, account_id: &str) -> Result<(), ClientError> {
        let permission = self.client.put_permission().event_bus_name(bus_name).statement_id(statement_id);
        let sent = permission.action("events:PutEvents").principal(account_id).send().await;
        sent.map(drop).map_err(|error| failed("events:PutPermission", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_is_an_error_that_names_its_code_and_message() {
        let entry = |code: &str| PutTargetsResultEntry::builder().error_code(code).error_message("no such bus").build();
        let error = refused("events:PutTargets", &[entry("ResourceNotFoundException")]);
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(error.to_string(), "events:PutTargets: no such bus (ResourceNotFoundException)");
        assert_eq!(refused("x", &[entry("ConcurrentModificationException")]).kind, ErrorKind::Unavailable);
        assert_eq!(refused("x", &[]).kind, ErrorKind::Unavailable);
    }
}
