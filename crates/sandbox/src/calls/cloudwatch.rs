//! CloudWatch: the alarms of the settings.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{input, unknown};
use crate::accounts::{AwsCaller, REGION, USER_ACCOUNT};
use crate::aws::error::AwsError;
use crate::simulation::Simulation;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeAlarms {
    #[serde(default)]
    alarm_names: Vec<String>,
}

pub fn call(simulation: &Simulation, caller: &AwsCaller, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    if operation != "DescribeAlarms" {
        return Err(unknown("cloudwatch", operation));
    }
    let wanted: DescribeAlarms = input(body)?;
    if wanted.alarm_names.len() > 100 {
        let message = "1 validation error detected: Value at 'alarmNames' failed to satisfy constraint: Member must have length less than or equal to 100";
        return Err(AwsError::new("ValidationError", message));
    }
    // The alarms belong to the user's account; other accounts see none.
    let alarms = simulation.faults.look(|faults| faults.alarms.clone());
    let alarms = alarms.into_iter().filter(|_| caller.account == USER_ACCOUNT);
    let chosen = alarms.filter(|(name, _)| wanted.alarm_names.is_empty() || wanted.alarm_names.contains(name));
    let described = chosen.map(|(name, alarm)| {
        json!({
            "AlarmName": name,
            "AlarmArn": format!("arn:aws:cloudwatch:{REGION}:{USER_ACCOUNT}:alarm:{name}"),
            "StateValue": alarm.state,
            "StateReason": alarm.reason,
            "StateUpdatedTimestamp": chrono::Utc::now().timestamp(),
        })
    });
    Ok(json!({"MetricAlarms": described.collect::<Vec<_>>(), "CompositeAlarms": []}))
}
