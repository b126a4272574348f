//! The calls of `EventBridge`.

mod policy;
mod rules;

use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::AwsCaller;
use crate::aws::error::AwsError;
use crate::aws::events::policy::document;
use crate::simulation::Simulation;

pub async fn call(
    simulation: &Simulation,
    caller: &AwsCaller,
    operation: &str,
    body: &[u8],
) -> Result<Value, AwsError> {
    let reads = ["Describe", "List"].iter().any(|verb| operation.starts_with(verb));
    if !reads {
        simulation.before_change();
    }
    let answer = dispatch(simulation, caller, operation, body).await;
    if !reads {
        simulation.after_change();
    }
    answer
}

async fn dispatch(
    simulation: &Simulation,
    caller: &AwsCaller,
    operation: &str,
    body: &[u8],
) -> Result<Value, AwsError> {
    match operation {
        "PutRule" => rules::put(simulation, caller, input(body)?),
        "DescribeRule" => rules::describe(simulation, caller, &input(body)?),
        "PutTargets" => rules::put_targets(simulation, caller, input(body)?),
        "DeleteRule" => rules::delete(simulation, caller, &input(body)?),
        "ListRules" => rules::list(simulation, caller, &input(body)?),
        "RemoveTargets" => rules::remove_targets(simulation, caller, &input(body)?),
        "ListTargetsByRule" => rules::list_targets(simulation, caller, &input(body)?),
        "DescribeEventBus" => describe_bus(simulation, caller, &input(body)?),
        "PutPermission" => policy::put(simulation, caller, input(body)?).await,
        "RemovePermission" => policy::remove(simulation, caller, input(body)?).await,
        other => Err(unknown("events", other)),
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeBus {
    name: Option<String>,
}

fn describe_bus(simulation: &Simulation, caller: &AwsCaller, wanted: &DescribeBus) -> Result<Value, AwsError> {
    simulation.buses(|buses| {
        let bus = buses.find(caller, wanted.name.as_deref())?;
        let mut answer = json!({"Name": bus.name, "Arn": bus.arn()});
        if !bus.statements.is_empty() {
            answer["Policy"] = Value::String(document(&bus.statements));
        }
        Ok(answer)
    })
}
