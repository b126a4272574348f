//! `EventBridge`: buses with their policies, rules with their patterns, and targets.

pub mod policy;
mod rules;

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::accounts::{AwsCaller, CONTROLLER_ACCOUNT, REGION, USER_ACCOUNT};
use super::error::AwsError;
pub use rules::{EventRule, rule_arn};

/// The controller's bus that receives the users' events.
pub const PANDA_BUS: &str = "panda";
/// A bus in the user's own account, for a set-up with one account.
const LOCAL_BUS: &str = "panda-local";
const DEFAULT_BUS: &str = "default";

#[derive(Clone, Debug)]
pub struct Bus {
    pub account: String,
    pub region: String,
    pub name: String,
    pub statements: Vec<Value>,
    pub rules: BTreeMap<String, EventRule>,
}

/// The buses of both accounts.
#[derive(Clone, Debug)]
pub struct Buses(Vec<Bus>);

pub fn bus_arn(account: &str, name: &str) -> String {
    format!("arn:aws:events:{REGION}:{account}:event-bus/{name}")
}

impl Buses {
    /// Both default buses and the controller's bus, whose rule starts the state machine.
    pub fn new() -> Self {
        let bus = |account: &str, name: &str| Bus {
            account: account.to_owned(),
            region: REGION.to_owned(),
            name: name.to_owned(),
            statements: Vec::new(),
            rules: BTreeMap::new(),
        };
        let mut receiving = bus(CONTROLLER_ACCOUNT, PANDA_BUS);
        let rule = EventRule::of_pipeline();
        receiving.rules.insert(rule.name.clone(), rule);
        Self(vec![
            bus(USER_ACCOUNT, DEFAULT_BUS),
            bus(USER_ACCOUNT, LOCAL_BUS),
            bus(CONTROLLER_ACCOUNT, DEFAULT_BUS),
            receiving,
        ])
    }

    /// The buses with the rules, targets and policies of three states of them.
    pub fn merged(rules: &Self, targets: &Self, policies: &Self) -> Self {
        let mut merged = rules.clone();
        for bus in &mut merged.0 {
            let same =
                |all: &Self| all.0.iter().find(|other| other.account == bus.account && other.name == bus.name).cloned();
            bus.statements = same(policies).map(|other| other.statements).unwrap_or_default();
            let other = same(targets);
            for rule in bus.rules.values_mut() {
                let seen = other.as_ref().and_then(|other| other.rules.get(&rule.name));
                rule.targets = seen.map(|seen| seen.targets.clone()).unwrap_or_default();
            }
        }
        merged
    }

    /// Finds the caller's bus by name or ARN; the default bus when neither is given.
    pub fn find(&self, caller: &AwsCaller, bus: Option<&str>) -> Result<&Bus, AwsError> {
        let wanted = bus.unwrap_or(DEFAULT_BUS);
        self.0
            .iter()
            .find(|bus| bus.account == caller.account && (bus.name == wanted || bus.arn() == wanted))
            .ok_or_else(|| missing_bus(wanted))
    }

    pub fn find_mut(&mut self, caller: &AwsCaller, bus: Option<&str>) -> Result<&mut Bus, AwsError> {
        let wanted = bus.unwrap_or(DEFAULT_BUS);
        self.0
            .iter_mut()
            .find(|bus| bus.account == caller.account && (bus.name == wanted || bus.arn() == wanted))
            .ok_or_else(|| missing_bus(wanted))
    }

    /// ARNs of the targets of all rules on `bus` that match the event. Omits buses of other accounts whose policy does
    /// not permit this account, and buses for which the target's role lacks the permission (`may_put`, with role and bus).
    pub fn targets(&self, bus: &str, event: &Value, may_put: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let Some(from) = self.0.iter().find(|candidate| candidate.arn() == bus) else { return Vec::new() };
        let targets = from.rules.values().filter(|rule| rule.takes(event)).flat_map(EventRule::target_roles);
        let reached = targets.filter(|(arn, role)| {
            self.takes_from(&from.account, arn) && role.as_deref().is_none_or(|role| may_put(role, arn))
        });
        reached.map(|(arn, _)| arn).collect()
    }

    /// The rules on the default bus of an account, each with its targets.
    pub fn rules_of(&self, account: &str) -> BTreeMap<String, Vec<Value>> {
        let of_account = self.0.iter().filter(|bus| bus.account == account && bus.name == DEFAULT_BUS);
        let rules = of_account.flat_map(|bus| &bus.rules);
        rules.map(|(name, rule)| (name.clone(), rule.targets.values().cloned().collect())).collect()
    }

    /// Removes all rules on the default bus of an account, with their targets, and the receiving bus's policy.
    pub fn forget_routes_of(&mut self, account: &str) {
        for bus in &mut self.0 {
            if bus.account == account && bus.name == DEFAULT_BUS {
                bus.rules.clear();
            }
            if bus.name == PANDA_BUS {
                bus.statements.clear();
            }
        }
    }

    /// The statements of the receiving bus's policy.
    pub fn receiving_statements(&self) -> Vec<Value> {
        self.0.iter().filter(|bus| bus.name == PANDA_BUS).flat_map(|bus| bus.statements.clone()).collect()
    }

    /// Moves the controller's receiving bus to another region.
    pub fn move_receiving(&mut self, region: &str) {
        for bus in self.0.iter_mut().filter(|bus| bus.name == PANDA_BUS) {
            region.clone_into(&mut bus.region);
        }
    }

    /// Returns true if the target `arn` accepts events of `account`: a bus of another account needs a policy that permits it.
    pub fn takes_from(&self, account: &str, arn: &str) -> bool {
        match self.0.iter().find(|to| to.arn() == arn) {
            Some(to) => to.account == account || policy::permits(&to.statements, account, arn),
            None => true,
        }
    }
}

impl Bus {
    pub fn arn(&self) -> String {
        format!("arn:aws:events:{}:{}:event-bus/{}", self.region, self.account, self.name)
    }

    /// Returns true if a target with this ARN is a bus that EventBridge reaches only with a role: one of another account or region, since
    /// February 2023.
    pub fn needs_role_for(&self, target_arn: &str) -> bool {
        let parts: Vec<&str> = target_arn.splitn(6, ':').collect();
        let &[_, _, service, region, account, resource] = parts.as_slice() else { return false };
        service == "events" && resource.starts_with("event-bus/") && (region != self.region || account != self.account)
    }
}

fn missing_bus(name: &str) -> AwsError {
    let name = name.rsplit('/').next().unwrap_or(name);
    AwsError::new("ResourceNotFoundException", format!("Event bus {name} does not exist."))
}
