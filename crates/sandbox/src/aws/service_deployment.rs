//! ECS's own service deployments (blue/green, linear, canary), and their JSON form.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::accounts::{CLUSTER, REGION, USER_ACCOUNT, random_upper};
use super::super::balancer_names as names;
use super::epoch;

/// How the rollouts of a repository shift their traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum RolloutStyle {
    /// CodeDeploy shifts it, in one step.
    #[default]
    CodeDeploy,
    /// ECS shifts it in one step, after a pause.
    BlueGreen,
    /// ECS shifts equal parts, after one pause.
    Linear {
        /// Size of each part.
        step_percent: u32,
    },
    /// ECS shifts a first part after a pause, and the rest after another.
    Canary {
        /// Size of the first part.
        percent: u32,
    },
}

impl RolloutStyle {
    /// Percentages on green after each part.
    pub fn parts(self) -> Vec<u32> {
        match self {
            Self::CodeDeploy | Self::BlueGreen => vec![100],
            Self::Linear { step_percent } => {
                let step = step_percent.clamp(1, 100);
                (1..=100_u32.div_ceil(step)).map(|number| (number * step).min(100)).collect()
            }
            Self::Canary { percent } => vec![percent.clamp(1, 99), 100],
        }
    }

    fn configuration(self) -> Value {
        match self {
            Self::CodeDeploy | Self::BlueGreen => json!({"strategy": "BLUE_GREEN"}),
            Self::Linear { step_percent } => json!({
                "strategy": "LINEAR", "linearConfiguration": {"stepPercent": step_percent, "stepBakeTimeInMinutes": 0},
            }),
            Self::Canary { percent } => json!({
                "strategy": "CANARY", "canaryConfiguration": {"canaryPercent": percent, "canaryBakeTimeInMinutes": 0},
            }),
        }
    }
}

/// The statuses that the sandbox's deployments reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceDeploymentStatus {
    Pending,
    InProgress,
    Successful,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
}

impl ServiceDeploymentStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::Stopped => "STOPPED",
            Self::RollbackRequested => "ROLLBACK_REQUESTED",
            Self::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Self::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
        }
    }

    /// True when the status can no longer change.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Successful | Self::Stopped | Self::RollbackSuccessful)
    }

    /// True until the deployment ends or goes back.
    pub fn advances(self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }
}

/// A PAUSE hook that was reached.
#[derive(Clone, Debug)]
pub struct PauseHook {
    pub id: String,
    /// `AWAITING_ACTION`, `SUCCEEDED`, `FAILED` or `TIMED_OUT`.
    pub status: &'static str,
    expires: DateTime<Utc>,
}

/// A service deployment of one repository's service.
#[derive(Clone, Debug)]
pub struct ServiceDeployment {
    pub arn: String,
    pub repository: String,
    pub status: ServiceDeploymentStatus,
    pub stage: &'static str,
    pub created: DateTime<Utc>,
    /// Percentage of the production traffic on green.
    pub green: u32,
    pub hook: Option<PauseHook>,
    /// Image of the target revision, as the task definition names it.
    pub image: String,
    /// Digest of that image.
    pub digest: String,
    style: RolloutStyle,
    number: u32,
    /// Number of green's target group, 1 or 2.
    green_group: u8,
    finished: Option<DateTime<Utc>>,
    /// Why and when it began to go back.
    rollback: Option<(String, DateTime<Utc>)>,
    triggered_alarm: Option<String>,
}

impl ServiceDeployment {
    /// Creates a deployment that has not begun, of the target revision `number`, whose tasks are to be in the target group `green_group`.
    pub fn new(
        repository: &str,
        (image, digest): (String, &str),
        style: RolloutStyle,
        number: u32,
        green_group: u8,
    ) -> Self {
        let id = random_upper(21);
        Self {
            arn: format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:service-deployment/{CLUSTER}/{repository}/{id}"),
            repository: repository.to_owned(),
            status: ServiceDeploymentStatus::Pending,
            stage: "RECONCILE_SERVICE",
            created: Utc::now(),
            green: 0,
            hook: None,
            image,
            digest: digest.to_owned(),
            style,
            number,
            green_group,
            finished: None,
            rollback: None,
            triggered_alarm: None,
        }
    }

    /// Creates one that waits at its first pause, of a repository without containers.
    pub fn waiting(repository: &str) -> Self {
        let image = format!("{repository}:waiting");
        let mut deployment = Self::new(repository, (image, "sha256:waiting"), RolloutStyle::BlueGreen, 2, 2);
        deployment.status = ServiceDeploymentStatus::InProgress;
        deployment.stage = "POST_TEST_TRAFFIC_SHIFT";
        deployment.pause(Duration::from_hours(336));
        deployment
    }

    /// True while a hook waits for `ContinueServiceDeployment`.
    pub fn is_paused(&self) -> bool {
        self.status == ServiceDeploymentStatus::InProgress
            && self.hook.as_ref().is_some_and(|hook| hook.status == "AWAITING_ACTION")
    }

    /// Begins the wait of a hook, of at least a millisecond.
    pub fn pause(&mut self, wait: Duration) {
        let expires = Utc::now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(14));
        self.hook = Some(PauseHook { id: format!("hook-{}", random_upper(12)), status: "AWAITING_ACTION", expires });
    }

    /// Ends the wait of the hook.
    pub fn answer(&mut self, status: &'static str) {
        if let Some(hook) = &mut self.hook {
            hook.status = status;
        }
    }

    /// Begins to go back.
    pub fn go_back(&mut self, reason: &str, alarm: Option<&str>) {
        self.status = ServiceDeploymentStatus::RollbackRequested;
        self.rollback = Some((reason.to_owned(), Utc::now()));
        self.triggered_alarm = alarm.map(str::to_owned);
    }

    /// Ends the deployment for good, with this status.
    pub fn finish(&mut self, status: ServiceDeploymentStatus) {
        self.status = status;
        self.finished = Some(Utc::now());
    }

    /// Reason why it went back.
    pub fn reason(&self) -> Option<&str> {
        self.rollback.as_ref().map(|(reason, _)| reason.as_str())
    }

    pub fn service_arn(&self) -> String {
        format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:service/{CLUSTER}/{}", self.repository)
    }

    fn cluster_arn() -> String {
        format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:cluster/{CLUSTER}")
    }

    /// ARN of the revision that it deploys.
    pub fn target_revision(&self) -> String {
        self.revision(self.number)
    }

    fn revision(&self, number: u32) -> String {
        format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:service-revision/{CLUSTER}/{}/{number}", self.repository)
    }

    fn summary(&self) -> Value {
        let mut summary = json!({
            "serviceDeploymentArn": self.arn, "serviceArn": self.service_arn(), "clusterArn": Self::cluster_arn(),
            "createdAt": epoch(self.created), "startedAt": epoch(self.created), "status": self.status.name(),
        });
        if let Some(finished) = self.finished {
            summary["finishedAt"] = json!(epoch(finished));
        }
        summary
    }

    /// The deployment in the answer of `ListServiceDeployments`.
    pub fn brief(&self) -> Value {
        let mut brief = self.summary();
        brief["targetServiceRevisionArn"] = json!(self.target_revision());
        brief
    }

    /// The deployment in the answer of `DescribeServiceDeployments`.
    pub fn described(&self, bake_minutes: u64) -> Value {
        let revision = |number: u32, weight: u32, test: u32| {
            json!({
                "arn": self.revision(number), "requestedTaskCount": 1, "runningTaskCount": 1, "pendingTaskCount": 0,
                "requestedTestTrafficWeight": test, "requestedProductionTrafficWeight": weight,
            })
        };
        let mut shown = self.summary();
        let back = self.rollback.is_some();
        let source = self.number.saturating_sub(1);
        shown["sourceServiceRevisions"] = json!([revision(source, 100 - self.green, if back { 100 } else { 0 })]);
        shown["targetServiceRevision"] = revision(self.number, self.green, if back { 0 } else { 100 });
        shown["updatedAt"] = json!(epoch(Utc::now()));
        shown["lifecycleStage"] = json!(self.stage);
        let mut configuration = self.style.configuration();
        configuration["lifecycleHooks"] = json!([{
            "targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"],
            "timeoutConfiguration": {"timeoutInMinutes": 1_440, "action": "ROLLBACK"},
        }]);
        configuration["bakeTimeInMinutes"] = json!(bake_minutes);
        configuration["deploymentCircuitBreaker"] = json!({"enable": true, "rollback": true});
        shown["deploymentConfiguration"] = configuration;
        if let Some(hook) = &self.hook {
            shown["lifecycleHookDetails"] = json!([{
                "hookId": hook.id, "targetType": "PAUSE", "status": hook.status, "expiresAt": epoch(hook.expires), "timeoutAction": "ROLLBACK",
            }]);
        }
        if let Some((reason, started)) = &self.rollback {
            shown["rollback"] = json!({
                "reason": reason, "startedAt": epoch(*started), "serviceRevisionArn": self.revision(source),
            });
            shown["statusReason"] = json!(reason);
        }
        if let Some(alarm) = &self.triggered_alarm {
            shown["alarms"] = json!({"status": "TRIGGERED", "alarmNames": [alarm], "triggeredAlarmNames": [alarm]});
        }
        shown
    }

    /// The revision that it deploys, in the answer of `DescribeServiceRevisions`.
    pub fn described_revision(&self) -> Value {
        let group = |number: u8| names::target_group_arn(&self.repository, number);
        let rule = |listener: &str| names::rule_arn(&names::listener_arn(&self.repository, listener));
        json!({
            "serviceRevisionArn": self.target_revision(), "serviceArn": self.service_arn(), "clusterArn": Self::cluster_arn(),
            "taskDefinition": format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:task-definition/{}:{}", self.repository, self.number),
            "launchType": "FARGATE", "createdAt": epoch(self.created),
            "containerImages": [{"containerName": "app", "imageDigest": self.digest, "image": self.image}],
            "loadBalancers": [{
                "targetGroupArn": group(1), "containerName": "app", "containerPort": 80,
                "advancedConfiguration": {
                    "alternateTargetGroupArn": group(2), "productionListenerRule": rule("production"), "testListenerRule": rule("test"),
                    "roleArn": format!("arn:aws:iam::{USER_ACCOUNT}:role/panda-ecs-{}", self.repository),
                },
            }],
            "resolvedConfiguration": {
                "loadBalancers": [{"targetGroupArn": group(self.green_group), "productionListenerRule": rule("production")}],
            },
        })
    }
}
