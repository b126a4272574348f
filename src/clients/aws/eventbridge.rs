//! `EventBridge`: rules in the user's account, and the event bus in the controller's account.

use aws_config::SdkConfig;
use aws_sdk_eventbridge::{
    Client,
    types::{Condition, PutTargetsResultEntry, RemoveTargetsResultEntry, RuleState, Target},
};

use super::client;
use super::error::{build_error, failed, failed_for_user, incomplete, kind};
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};
use crate::metrics::AwsCalls;

/// Client for the rules of an account's default event bus.
#[derive(Clone)]
pub struct EventRules {
    client: Client,
    calls: AwsCalls,
}

impl EventRules {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_eventbridge, config, observe), calls: observe.calls().clone() }
    }

    /// Fetches the rule; `None` if it does not exist.
    pub async fn describe_rule(&self, name: &str) -> Result<Option<RuleDescription>, ClientError> {
        let answer = match self.client.describe_rule().name(name).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = failed_for_user("events:DescribeRule", &error);
                return if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) };
            }
        };
        Ok(Some(RuleDescription {
            event_pattern: answer.event_pattern,
            enabled: answer.state.is_some_and(|state| state != RuleState::Disabled),
        }))
    }

    /// Fetches the targets of the rule; none if the rule does not exist. A rule has at most five targets, so there is no second page.
    pub async fn targets(&self, rule: &str) -> Result<Vec<RuleTarget>, ClientError> {
        let answer = match self.client.list_targets_by_rule().rule(rule).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = failed_for_user("events:ListTargetsByRule", &error);
                return if error.kind == ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) };
            }
        };
        let targets = answer.targets.unwrap_or_default().into_iter();
        Ok(targets.map(|target| RuleTarget { id: target.id, arn: target.arn, role_arn: target.role_arn }).collect())
    }

    /// Creates or overwrites the rule, and enables it. Idempotent.
    pub async fn put_rule(&self, name: &str, event_pattern_json: &str, description: &str) -> Result<(), ClientError> {
        let rule = self.client.put_rule().name(name).event_pattern(event_pattern_json).description(description);
        let sent = rule.state(RuleState::Enabled).send().await;
        sent.map(drop).map_err(|error| failed_for_user("events:PutRule", &error))
    }

    /// Adds the target to the rule or overwrites it. Idempotent. A rule without a target drops its events silently.
    pub async fn put_target(
        &self,
        rule: &str,
        target_id: &str,
        target_arn: &str,
        role_arn: Option<&str>,
    ) -> Result<(), ClientError> {
        const CALL: &str = "events:PutTargets";
        let target = Target::builder().id(target_id).arn(target_arn).set_role_arn(role_arn.map(str::to_owned));
        let target = target.build().map_err(|error| build_error(CALL, &error))?;
        let answer = self.client.put_targets().rule(rule).targets(target).send().await;
        let answer = answer.map_err(|error| failed_for_user(CALL, &error))?;
        if answer.failed_entry_count > 0 {
            return Err(entry_error(CALL, answer.failed_entries()));
        }
        Ok(())
    }
}

impl EventRules {
    /// Lists name and description of all rules, up to [`MAX_LISTED`]. The metric of rules counts them for `account` and `region`.
    pub async fn list(&self, account: &str, region: &str) -> Result<Vec<ListedRule>, ClientError> {
        let mut rules = Vec::new();
        let mut next = None;
        loop {
            let answer = self.client.list_rules().set_next_token(next).send().await;
            let answer = answer.map_err(|error| failed_for_user("events:ListRules", &error))?;
            let page = answer.rules.unwrap_or_default().into_iter();
            rules.extend(page.filter_map(|rule| Some(ListedRule { name: rule.name?, description: rule.description })));
            next = answer.next_token;
            if next.is_none() || rules.len() >= MAX_LISTED {
                rules.truncate(MAX_LISTED);
                self.calls.rules_listed(account, region, rules.len());
                return Ok(rules);
            }
        }
    }

    /// Removes one target of a rule; idempotent.
    pub async fn remove_target(&self, rule: &str, target_id: &str) -> Result<(), ClientError> {
        const CALL: &str = "events:RemoveTargets";
        match self.client.remove_targets().rule(rule).ids(target_id).send().await {
            Ok(answer) if answer.failed_entry_count > 0 => {
                let entry = answer.failed_entries().first();
                let code = entry.and_then(RemoveTargetsResultEntry::error_code).unwrap_or("no error code");
                Err(ClientError::new(kind(Some(code), 400), CALL, format!("the target was not removed ({code})")))
            }
            Ok(_) => Ok(()),
            Err(error) => unless_absent(failed_for_user(CALL, &error)),
        }
    }

    /// Deletes a rule without targets; idempotent.
    pub async fn delete_rule(&self, rule: &str) -> Result<(), ClientError> {
        match self.client.delete_rule().name(rule).send().await {
            Ok(_) => Ok(()),
            Err(error) => unless_absent(failed_for_user("events:DeleteRule", &error)),
        }
    }
}

/// Rules that [`EventRules::list`] reads at most; the quota of a bus is 300 by default.
pub const MAX_LISTED: usize = 5_000;

fn unless_absent(error: ClientError) -> Result<(), ClientError> {
    if error.kind == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Name and description of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Name of the rule.
    pub name: String,
    /// Description of the rule, if it has one.
    pub description: Option<String>,
}

/// A rule as EventBridge stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleDescription {
    /// Event pattern as JSON text, if the rule has one.
    pub event_pattern: Option<String>,
    /// False for a disabled rule, which matches no event.
    pub enabled: bool,
}

impl RuleDescription {
    /// Reports whether the rule is enabled and has this pattern; formatting of the JSON text does not count.
    pub fn has_pattern(&self, pattern: &str) -> bool {
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        self.enabled
            && self.event_pattern.as_deref().and_then(parsed).is_some_and(|found| parsed(pattern) == Some(found))
    }
}

/// Destination of the events that match a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTarget {
    /// Id of the target within the rule.
    pub id: String,
    /// ARN of the target.
    pub arn: String,
    /// ARN of the role that EventBridge assumes, if any.
    pub role_arn: Option<String>,
}

/// Converts a failed entry: `PutTargets` answers 200 even if it stored nothing, and only the entries say so.
fn entry_error(call: &'static str, entries: &[PutTargetsResultEntry]) -> ClientError {
    let entry = entries.first();
    let code = entry.and_then(PutTargetsResultEntry::error_code).unwrap_or("no error code");
    let message = entry.and_then(PutTargetsResultEntry::error_message).unwrap_or("the target was not stored");
    let kind = match code {
        "no error code" => ErrorKind::Unavailable,
        code => kind(Some(code), 400),
    };
    ClientError::new(kind, call, format!("{message} ({code})"))
}

/// State of an event bus.
#[derive(Clone, Debug, PartialEq)]
pub struct BusDescription {
    /// ARN of the event bus.
    pub arn: String,
    /// Resource policy of the bus, if it has one.
    pub policy: Option<serde_json::Value>,
    /// Length of the policy's text, in bytes.
    pub policy_bytes: usize,
}

/// Rules whose targets [`EventBus::targets`] reads at most.
const MAX_SEARCHED: usize = 10;

/// Client for the event buses of the controller's account.
#[derive(Clone)]
pub struct EventBus {
    client: Client,
    calls: AwsCalls,
}

impl EventBus {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_eventbridge, config, observe), calls: observe.calls().clone() }
    }

    /// Fetches ARN and policy of the bus.
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
        let policy_bytes = answer.policy.as_deref().map_or(0, str::len);
        self.calls.policy_read(policy_bytes);
        Ok(BusDescription { arn: answer.arn.ok_or_else(|| incomplete(CALL, "ARN"))?, policy, policy_bytes })
    }

    /// Fetches the ARNs of the targets of up to [`MAX_SEARCHED`] enabled rules on the bus: a pipeline's bus has few.
    pub async fn targets(&self, bus_name: &str) -> Result<Vec<String>, ClientError> {
        let answer = self.client.list_rules().event_bus_name(bus_name).send().await;
        let rules = answer.map_err(|error| failed("events:ListRules", &error))?.rules.unwrap_or_default();
        let enabled = rules.into_iter().filter(|rule| rule.state != Some(RuleState::Disabled));
        let mut targets = Vec::new();
        for rule in enabled.filter_map(|rule| rule.name).take(MAX_SEARCHED) {
            let request = self.client.list_targets_by_rule().event_bus_name(bus_name).rule(rule);
            match request.send().await.map_err(|error| failed("events:ListTargetsByRule", &error)) {
                Ok(answer) => targets.extend(answer.targets.unwrap_or_default().into_iter().map(|target| target.arn)),
                // Deleted since it was listed.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(targets)
    }

    /// Permits an account to put events on the bus. AWS reads, changes and writes the whole policy, so concurrent calls lose each other's statement:
    /// the caller must hold a lock and read the policy back.
    pub async fn allow_account(&self, bus_name: &str, statement_id: &str, account_id: &str) -> Result<(), ClientError> {
        let permission = self.client.put_permission().event_bus_name(bus_name).statement_id(statement_id);
        let sent = permission.action("events:PutEvents").principal(account_id).send().await;
        sent.map(drop).map_err(|error| failed("events:PutPermission", &error))
    }

    /// Permits all accounts of an organization, as [`Self::allow_account`] does for one.
    pub async fn allow_organization(
        &self,
        bus_name: &str,
        statement_id: &str,
        organization: &str,
    ) -> Result<(), ClientError> {
        const CALL: &str = "events:PutPermission";
        let condition = Condition::builder().r#type("StringEquals").key("aws:PrincipalOrgID").value(organization);
        let condition = condition.build().map_err(|error| build_error(CALL, &error))?;
        let permission = self.client.put_permission().event_bus_name(bus_name).statement_id(statement_id);
        let permission = permission.action("events:PutEvents").principal("*").condition(condition);
        permission.send().await.map(drop).map_err(|error| failed(CALL, &error))
    }

    /// Removes a statement of the policy; idempotent. The caller must hold the lock of [`Self::allow_account`].
    pub async fn remove_statement(&self, bus_name: &str, statement_id: &str) -> Result<(), ClientError> {
        let removal = self.client.remove_permission().event_bus_name(bus_name).statement_id(statement_id);
        match removal.send().await {
            Ok(_) => Ok(()),
            Err(error) => unless_absent(failed("events:RemovePermission", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_entry_is_an_error() {
        let entry = |code: &str| PutTargetsResultEntry::builder().error_code(code).error_message("no such bus").build();
        let error = entry_error("events:PutTargets", &[entry("ResourceNotFoundException")]);
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(error.to_string(), "events:PutTargets: no such bus (ResourceNotFoundException)");
        assert_eq!(entry_error("x", &[entry("ConcurrentModificationException")]).kind, ErrorKind::Unavailable);
        assert_eq!(entry_error("x", &[]).kind, ErrorKind::Unavailable);
    }
}
