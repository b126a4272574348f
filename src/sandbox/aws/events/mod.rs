//! `EventBridge`: buses with a policy, rules with a pattern, targets.

mod policy;
mod rules;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::accounts::{CONTROLLER_ACCOUNT, Caller, REGION, USER_ACCOUNT};
use super::super::world::World;
use super::error::AwsError;
use super::{input, unknown};
pub use rules::Rule;

/// The controller's bus that receives the users' events.
pub const PANDA_BUS: &str = "panda";
const DEFAULT_BUS: &str = "default";

/// An event bus.
#[derive(Debug)]
pub struct Bus {
    account: String,
    name: String,
    statements: Vec<Value>,
    rules: BTreeMap<String, Rule>,
}

/// Every bus of both accounts.
#[derive(Debug)]
pub struct Buses(Vec<Bus>);

/// The ARN of a bus.
pub fn bus_arn(account: &str, name: &str) -> String {
    format!("arn:aws:events:{REGION}:{account}:event-bus/{name}")
}

impl Buses {
    /// Both default buses and the controller's own, where the pipeline's rule starts the state machine.
    pub fn new() -> Self {
        let bus = |account: &str, name: &str| Bus {
            account: account.to_owned(),
            name: name.to_owned(),
            statements: Vec::new(),
            rules: BTreeMap::new(),
        };
        let mut receiving = bus(CONTROLLER_ACCOUNT, PANDA_BUS);
        let rule = Rule::of_pipeline();
        receiving.rules.insert(rule.name.clone(), rule);
        Self(vec![bus(USER_ACCOUNT, DEFAULT_BUS), bus(CONTROLLER_ACCOUNT, DEFAULT_BUS), receiving])
    }

    /// The caller's bus by name or ARN; the default one when neither is given.
    fn find(&self, caller: &Caller, bus: Option<&str>) -> Result<&Bus, AwsError> {
        let wanted = bus.unwrap_or(DEFAULT_BUS);
        self.0
            .iter()
            .find(|bus| bus.account == caller.account && (bus.name == wanted || bus.arn() == wanted))
            .ok_or_else(|| missing_bus(wanted))
    }

    fn find_mut(&mut self, caller: &Caller, bus: Option<&str>) -> Result<&mut Bus, AwsError> {
        let wanted = bus.unwrap_or(DEFAULT_BUS);
        self.0
            .iter_mut()
            .find(|bus| bus.account == caller.account && (bus.name == wanted || bus.arn() == wanted))
            .ok_or_else(|| missing_bus(wanted))
    }

    /// Where an event on a bus goes: the ARNs of all targets of all its rules that match. A target that is another
    /// account's bus counts only when that bus lets this account put events.
    pub fn targets(&self, bus: &str, event: &Value) -> Vec<String> {
        let Some(from) = self.0.iter().find(|candidate| candidate.arn() == bus) else { return Vec::new() };
        let arns = from.rules.values().filter(|rule| rule.takes(event)).flat_map(Rule::target_arns);
        arns.filter(|arn| self.takes_from(&from.account, arn)).collect()
    }

    /// Whether the target `arn` takes events of `account`: another account's bus does when its policy says so.
    fn takes_from(&self, account: &str, arn: &str) -> bool {
        match self.0.iter().find(|to| to.arn() == arn) {
            Some(to) => to.account == account || policy::permits(&to.statements, account, arn),
            None => true,
        }
    }
}

impl Bus {
    fn arn(&self) -> String {
        bus_arn(&self.account, &self.name)
    }
}

fn missing_bus(name: &str) -> AwsError {
    let name = name.rsplit('/').next().unwrap_or(name);
    AwsError::new("ResourceNotFoundException", format!("Event bus {name} does not exist."))
}

pub async fn call(world: &World, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    match operation {
        "PutRule" => rules::put(world, caller, input(body)?),
        "DescribeRule" => rules::describe(world, caller, &input(body)?),
        "PutTargets" => rules::put_targets(world, caller, input(body)?),
        "ListTargetsByRule" => rules::list_targets(world, caller, &input(body)?),
        "DescribeEventBus" => describe_bus(world, caller, &input(body)?),
        "PutPermission" => policy::put(world, caller, input(body)?).await,
        "RemovePermission" => policy::remove(world, caller, input(body)?).await,
        other => Err(unknown("events", other)),
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeBus {
    name: Option<String>,
}

fn describe_bus(world: &World, caller: &Caller, wanted: &DescribeBus) -> Result<Value, AwsError> {
    world.read(|state| {
        let bus = state.buses.find(caller, wanted.name.as_deref())?;
        let mut answer = json!({"Name": bus.name, "Arn": bus.arn()});
        if !bus.statements.is_empty() {
            answer["Policy"] = Value::String(policy::document(&bus.statements));
        }
        Ok(answer)
    })
}
