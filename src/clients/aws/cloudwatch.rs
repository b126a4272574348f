//! CloudWatch: the states of alarms. Only reads.

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{AlarmType, StateValue};

use super::client;
use super::error::failed_for_user;
use super::observer::CallObserver;
use crate::clients::ClientError;
use crate::domain::text;

/// Longest reason of a state that is shown, in characters.
const MAX_REASON: usize = 300;

/// Conclusion of the last evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlarmState {
    /// The metric is within the threshold.
    Ok,
    /// The metric is beyond the threshold.
    Alarm,
    /// CloudWatch has too little data, or the state is one that this version does not know.
    Insufficient(String),
}

/// An alarm as CloudWatch describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Conclusion of the last evaluation.
    pub state: AlarmState,
    /// CloudWatch's reason for it.
    pub reason: String,
}

/// Client for the alarms of a user's account.
#[derive(Clone)]
pub struct Alarms {
    client: Client,
}

impl Alarms {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_cloudwatch, config, observe) }
    }

    /// Fetches a metric alarm or composite alarm by its name; `None` if there is none.
    pub async fn alarm(&self, name: &str) -> Result<Option<Alarm>, ClientError> {
        const CALL: &str = "cloudwatch:DescribeAlarms";
        let request = self.client.describe_alarms().alarm_names(name);
        let request = request.alarm_types(AlarmType::MetricAlarm).alarm_types(AlarmType::CompositeAlarm);
        let answer = request.send().await.map_err(|error| failed_for_user(CALL, &error))?;
        let metric = answer.metric_alarms.unwrap_or_default().into_iter();
        let metric = metric.map(|alarm| (alarm.alarm_name, alarm.state_value, alarm.state_reason));
        let composite = answer.composite_alarms.unwrap_or_default().into_iter();
        let composite = composite.map(|alarm| (alarm.alarm_name, alarm.state_value, alarm.state_reason));
        let found = metric.chain(composite).find(|(found, ..)| found.as_deref() == Some(name));
        Ok(found.map(|(_, state, reason)| Alarm {
            state: state_of(state.as_ref()),
            reason: text::cut(&reason.unwrap_or_default(), MAX_REASON),
        }))
    }
}

fn state_of(value: Option<&StateValue>) -> AlarmState {
    match value {
        Some(StateValue::Ok) => AlarmState::Ok,
        Some(StateValue::Alarm) => AlarmState::Alarm,
        Some(other) => AlarmState::Insufficient(other.as_str().to_owned()),
        None => AlarmState::Insufficient("-".to_owned()),
    }
}
