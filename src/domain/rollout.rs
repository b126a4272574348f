//! Rollouts: what shifts the traffic at AWS, a deployment of `CodeDeploy` or of ECS itself, in words that fit both.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::code_deploy_id;

/// Why another text is refused as the ARN of a service deployment, as a predicate.
pub const ARN_REFUSAL: &str =
    "is not the ARN of an ECS service deployment (arn:aws:ecs:REGION:ACCOUNT:service-deployment/CLUSTER/SERVICE/ID)";

/// Longest ARN that is accepted, in bytes.
const MAX_ARN_BYTES: usize = 1_024;

/// Identity of a rollout, by the back end that runs it. Stored as one text: `d-…`, or the ARN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub enum RolloutId {
    /// A deployment of CodeDeploy, by its id, `d-…`.
    CodeDeploy(String),
    /// A blue/green, linear or canary deployment of ECS, by the ARN of the service deployment.
    EcsNative(String),
}

impl RolloutId {
    /// Reports that the rollout may have several pauses, each before a further part of the traffic.
    pub fn has_steps(&self) -> bool {
        matches!(self, Self::EcsNative(_))
    }

    /// Returns the id or ARN.
    pub fn as_str(&self) -> &str {
        match self {
            Self::CodeDeploy(id) | Self::EcsNative(id) => id,
        }
    }

    /// Returns the name of the back end, for messages.
    pub fn service(&self) -> &'static str {
        match self {
            Self::CodeDeploy(_) => "CodeDeploy",
            Self::EcsNative(_) => "ECS",
        }
    }

    /// Reports whether AWS can know a rollout of this id.
    pub fn is_valid(&self) -> bool {
        match self {
            Self::CodeDeploy(id) => code_deploy_id::is_valid(id),
            Self::EcsNative(arn) => is_service_deployment(arn),
        }
    }
}

impl From<String> for RolloutId {
    fn from(text: String) -> Self {
        if is_service_deployment(&text) { Self::EcsNative(text) } else { Self::CodeDeploy(text) }
    }
}

impl From<RolloutId> for String {
    fn from(id: RolloutId) -> Self {
        match id {
            RolloutId::CodeDeploy(id) | RolloutId::EcsNative(id) => id,
        }
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reports whether `text` is the ARN of an ECS service deployment.
pub fn is_service_deployment(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
    let resource: Vec<&str> = resource.split('/').collect();
    text.len() <= MAX_ARN_BYTES
        && arn == "arn"
        && partition.starts_with("aws")
        && service == "ecs"
        && !region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(resource.as_slice(), ["service-deployment", cluster, service, id] if [cluster, service, id].iter().all(|name| is_name(name)))
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A point at which a rollout waits for a person. An approval is for one pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Pause {
    /// Id of ECS's hook; none for CodeDeploy, whose rollouts wait once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// Stage of ECS's life cycle at which it waits, such as `POST_TEST_TRAFFIC_SHIFT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// When AWS ends the wait by itself; none where it must be computed or never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// What AWS does when the wait ends: `ROLLBACK` or `CONTINUE`; none where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_action: Option<String>,
}

impl Pause {
    /// Returns a name of the wait for the keys of events about it; none for CodeDeploy, whose rollouts wait once.
    pub fn occurrence(&self) -> Option<String> {
        let hook = self.hook.as_ref()?;
        Some(format!("{hook}:{}", self.until.map_or(0, |until| until.timestamp())))
    }

    /// Reports whether both are the same wait. A hook of ECS may wait at several stages, and again before each part of the traffic; only the end of the wait
    /// then separates one from the next.
    pub fn is(&self, other: &Self) -> bool {
        (&self.hook, &self.stage, self.until) == (&other.hook, &other.stage, other.until)
    }
}

/// Pauses of a deployment that are kept.
const MAX_PAUSES: usize = 100;

/// A pause of ECS as it was seen, for those who approve it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SeenPause {
    /// Name by which a switch is bound to it.
    pub id: String,
    /// Hook, stage and end of the wait, as ECS described them.
    #[serde(flatten)]
    pub pause: Pause,
    /// Percentage of the production traffic on green during it; none if AWS does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green_weight: Option<f64>,
}

impl SeenPause {
    /// Returns the pauses with this one as the last; none if it is known, or is CodeDeploy's, whose rollouts wait once.
    pub fn added(known: &[Self], pause: &Pause, green_weight: Option<f64>) -> Option<Vec<Self>> {
        let id = pause.occurrence()?;
        if known.last().is_some_and(|last| last.pause.is(pause)) {
            return None;
        }
        let kept = known.len().saturating_sub(MAX_PAUSES - 1);
        let new = Self { id, pause: pause.clone(), green_weight };
        Some(known.iter().skip(kept).cloned().chain([new]).collect())
    }
}

/// Standing of a rollout, as one look shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not begun, or in a queue.
    Pending,
    /// Green is up, and the rollout waits for a person.
    Waiting(Pause),
    /// In progress: installing, shifting or baking.
    Active,
    /// In a status that this program does not know: it decides nothing.
    Unknown,
    /// Over: the traffic is on green, and blue is gone or kept for good.
    Succeeded,
    /// Failed, stopped or going back.
    Ended,
}

/// Where the production traffic of a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// On blue: it was never sent to green.
    NeverSent,
    /// On its way to green, in whole or in parts.
    Shifting,
    /// Arrived: nothing is left on blue.
    Green,
    /// A rollback is moving it back.
    MovingBack,
    /// It was on green, and is on blue again.
    Blue,
}

/// Where the production traffic is, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrafficSeen {
    /// Side of the traffic.
    pub at: Traffic,
    /// Percentages on blue and green; none if AWS does not say.
    pub weights: Option<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/shop/aBcD_123-x";

    #[test]
    fn id_is_one_text_in_rows() {
        for (text, id) in [
            (ARN, RolloutId::EcsNative(ARN.to_owned())),
            ("d-ABCDEF123", RolloutId::CodeDeploy("d-ABCDEF123".to_owned())),
            ("ecs-svc/123", RolloutId::CodeDeploy("ecs-svc/123".to_owned())),
        ] {
            assert_eq!(serde_json::from_value::<RolloutId>(text.into()).unwrap(), id);
            assert_eq!(serde_json::to_value(&id).unwrap(), text);
        }
        assert!(!RolloutId::CodeDeploy("ecs-svc/123".to_owned()).is_valid());
        assert!(RolloutId::EcsNative(ARN.to_owned()).is_valid());
    }

    #[test]
    fn accepts_only_arns_of_service_deployments() {
        assert!(is_service_deployment(ARN));
        assert!(is_service_deployment("arn:aws-cn:ecs:cn-north-1:123456789012:service-deployment/c/s/1"));
        for other in [
            "",
            "arn:aws:ecs:ap-northeast-2:123456789012:service/main/shop",
            "arn:aws:ecs:ap-northeast-2:123456789012:service-revision/main/shop/1",
            "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/shop",
            "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/shop/1/2",
            "arn:aws:ecs:ap-northeast-2:12345:service-deployment/main/shop/1",
            "arn:aws:ecs::123456789012:service-deployment/main/shop/1",
            "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/sh op/1",
            "arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main//1",
            "arn:aws:codedeploy:ap-northeast-2:123456789012:service-deployment/main/shop/1",
            " arn:aws:ecs:ap-northeast-2:123456789012:service-deployment/main/shop/1",
        ] {
            assert!(!is_service_deployment(other), "{other}");
        }
        assert!(!is_service_deployment(&format!("{ARN}{}", "x".repeat(MAX_ARN_BYTES))));
    }

    #[test]
    fn approval_is_for_one_wait() {
        let pause = |hook: &str, stage: &str, until: i64| Pause {
            hook: Some(hook.to_owned()),
            stage: Some(stage.to_owned()),
            until: DateTime::from_timestamp(until, 0),
            timeout_action: None,
        };
        let first = pause("h", "PRE_PRODUCTION_TRAFFIC_SHIFT", 60);
        assert!(first.is(&first.clone()));
        assert!(!first.is(&pause("h", "PRE_PRODUCTION_TRAFFIC_SHIFT", 120)), "before the next part of the traffic");
        assert!(!first.is(&pause("h", "BAKE_TIME", 60)) && !first.is(&pause("i", "PRE_PRODUCTION_TRAFFIC_SHIFT", 60)));
        assert!(!first.is(&Pause::default()), "an unknown pause is none that was approved");
        let told = Pause { timeout_action: Some("ROLLBACK".to_owned()), ..first.clone() };
        assert!(first.is(&told), "rows of before do not say what AWS does at the end");
    }

    #[test]
    fn pauses_are_kept_in_order_and_bounded() {
        let pause =
            |until| Pause { hook: Some("h".to_owned()), until: DateTime::from_timestamp(until, 0), ..Pause::default() };
        let mut known = Vec::new();
        for until in 0..150 {
            known = SeenPause::added(&known, &pause(until), Some(20.0)).unwrap();
            assert_eq!(SeenPause::added(&known, &pause(until), None), None, "seen again");
        }
        assert_eq!((known.len(), known[0].id.as_str(), known[99].id.as_str()), (MAX_PAUSES, "h:50", "h:149"));
        assert_eq!(SeenPause::added(&known, &Pause::default(), None), None, "CodeDeploy waits once");
        let json = serde_json::to_value(&known[0]).unwrap();
        assert_eq!((&json["id"], &json["hook"]), (&"h:50".into(), &"h".into()));
        assert_eq!(serde_json::from_value::<SeenPause>(json).unwrap(), known[0]);
    }
}
