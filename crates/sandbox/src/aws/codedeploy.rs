//! `CodeDeploy`: blue/green deployments of ECS services, and their JSON form.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::accounts::{CLUSTER, REGION, USER_ACCOUNT, random_upper};
use super::super::balancer_names as names;
use super::epoch;

/// Status of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlueGreenStatus {
    InProgress,
    /// Green is installed and waits for `ContinueDeployment`.
    Ready,
    Succeeded,
    Failed,
    Stopped,
}

impl BlueGreenStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Ready => "Ready",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Stopped => "Stopped",
        }
    }

    /// True when the status can no longer change.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped)
    }
}

/// The lifecycle events of an ECS deployment with a test listener, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    BeforeInstall,
    Install,
    AfterInstall,
    AllowTestTraffic,
    AfterAllowTestTraffic,
    BeforeAllowTraffic,
    AllowTraffic,
    AfterAllowTraffic,
}

const PHASES: [Phase; 8] = [
    Phase::BeforeInstall,
    Phase::Install,
    Phase::AfterInstall,
    Phase::AllowTestTraffic,
    Phase::AfterAllowTestTraffic,
    Phase::BeforeAllowTraffic,
    Phase::AllowTraffic,
    Phase::AfterAllowTraffic,
];

impl Phase {
    /// True for the events before the wait for `ContinueDeployment`.
    fn is_before_wait(self) -> bool {
        !matches!(self, Self::BeforeAllowTraffic | Self::AllowTraffic | Self::AfterAllowTraffic)
    }
}

#[derive(Clone, Debug)]
struct Lifecycle {
    phase: Phase,
    status: &'static str,
    started: Option<DateTime<Utc>>,
    ended: Option<DateTime<Utc>>,
}

/// A blue/green deployment of one repository's service.
#[derive(Clone, Debug)]
pub struct BlueGreenDeployment {
    pub id: String,
    pub repository: String,
    pub status: BlueGreenStatus,
    pub created: DateTime<Utc>,
    completed: Option<DateTime<Utc>>,
    error: Option<(String, String)>,
    lifecycle: Vec<Lifecycle>,
    /// True when a call requested the end of blue before the termination wait is over.
    pub terminate_now: bool,
    /// True while a requested stop is carried out.
    pub stopping: bool,
    /// Id of the deployment that rolled this one back.
    pub rolled_back_by: Option<String>,
    /// Id of the deployment that this one rolled back.
    pub rolls_back: Option<String>,
    /// Time for which it waits for `ContinueDeployment`.
    pub ready_wait: Duration,
    /// Number of the target group of blue, 1 or 2.
    pub blue_group: u8,
}

impl BlueGreenDeployment {
    /// Creates a deployment in progress.
    pub fn new(repository: &str) -> Self {
        let lifecycle = PHASES.map(|phase| Lifecycle { phase, status: "Pending", started: None, ended: None });
        Self {
            id: format!("d-{}", random_upper(9)),
            repository: repository.to_owned(),
            status: BlueGreenStatus::InProgress,
            created: Utc::now(),
            completed: None,
            error: None,
            lifecycle: lifecycle.to_vec(),
            terminate_now: false,
            stopping: false,
            rolled_back_by: None,
            rolls_back: None,
            ready_wait: Duration::from_hours(1),
            blue_group: 1,
        }
    }

    pub fn application(&self) -> String {
        format!("{}-app", self.repository)
    }

    pub fn group(&self) -> String {
        format!("{}-group", self.repository)
    }

    pub fn begin(&mut self, phase: Phase) {
        self.mark(phase, "InProgress");
    }

    pub fn succeed(&mut self, phase: Phase) {
        self.mark(phase, "Succeeded");
    }

    pub fn fail(&mut self, phase: Phase) {
        self.mark(phase, "Failed");
    }

    /// Ends the events before the wait for `ContinueDeployment`, and begins the wait.
    pub fn install(&mut self) {
        for phase in PHASES.into_iter().filter(|phase| phase.is_before_wait()) {
            self.succeed(phase);
        }
        self.status = BlueGreenStatus::Ready;
    }

    fn mark(&mut self, phase: Phase, status: &'static str) {
        let now = Utc::now();
        for event in self.lifecycle.iter_mut().filter(|event| event.phase == phase) {
            event.status = status;
            event.started.get_or_insert(now);
            if status != "InProgress" {
                event.ended = Some(now);
            }
        }
    }

    /// True while production traffic moves.
    fn is_shifting(&self) -> bool {
        self.lifecycle.iter().any(|event| event.phase == Phase::AllowTraffic && event.status == "InProgress")
    }

    /// True if production traffic has moved.
    pub fn has_shifted(&self) -> bool {
        self.lifecycle.iter().any(|event| event.phase == Phase::AllowTraffic && event.status == "Succeeded")
    }

    /// Ends a running deployment. Marks lifecycle events that have not ended as skipped.
    pub fn finish(&mut self, status: BlueGreenStatus, error: Option<(String, String)>) {
        if self.status.is_final() {
            return;
        }
        self.status = status;
        self.completed = Some(Utc::now());
        self.error = error;
        for event in self.lifecycle.iter_mut().filter(|event| matches!(event.status, "Pending" | "InProgress")) {
            event.status = "Skipped";
        }
    }

    /// Code and message of the error.
    pub fn error(&self) -> Option<&(String, String)> {
        self.error.as_ref()
    }

    /// The wait for `ContinueDeployment` as CodeDeploy states it: whole minutes.
    fn ready_minutes(&self) -> u64 {
        self.ready_wait.as_secs().div_ceil(60).max(1)
    }

    /// How much earlier the wait is shown to have begun, so that a wait below a minute ends when the stated minutes are over.
    fn backdated(&self) -> TimeDelta {
        let stated = Duration::from_secs(self.ready_minutes() * 60);
        TimeDelta::from_std(stated.saturating_sub(self.ready_wait)).unwrap_or_default()
    }

    /// `deploymentInfo` in the response of `GetDeployment`.
    pub fn info(&self, termination_minutes: u64) -> Value {
        let ready_minutes = self.ready_minutes();
        let group = |number| names::target_group(&self.repository, number);
        let mut info = json!({
            "applicationName": self.application(), "deploymentGroupName": self.group(), "deploymentId": self.id,
            "deploymentConfigName": "CodeDeployDefault.ECSAllAtOnce", "status": self.status.name(),
            "createTime": epoch(self.created), "startTime": epoch(self.created), "creator": "user", "computePlatform": "ECS",
            "deploymentStyle": {"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
            "autoRollbackConfiguration": {"enabled": true, "events": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_REQUEST"]},
            "blueGreenDeploymentConfiguration": {
                "terminateBlueInstancesOnDeploymentSuccess": {"action": "TERMINATE", "terminationWaitTimeInMinutes": termination_minutes},
                "deploymentReadyOption": {"actionOnTimeout": "STOP_DEPLOYMENT", "waitTimeInMinutes": ready_minutes},
            },
            "loadBalancerInfo": {"targetGroupPairInfoList": [{
                "targetGroups": [{"name": group(1)}, {"name": group(2)}],
                "prodTrafficRoute": {"listenerArns": [names::listener_arn(&self.repository, "production")]},
                "testTrafficRoute": {"listenerArns": [names::listener_arn(&self.repository, "test")]},
            }]},
        });
        if let Some(completed) = self.completed {
            info["completeTime"] = json!(epoch(completed));
        }
        if let Some((code, message)) = &self.error {
            info["errorInformation"] = json!({"code": code, "message": message});
        }
        if let Some(id) = &self.rolled_back_by {
            info["rollbackInfo"] = json!({"rollbackDeploymentId": id, "rollbackMessage": "the deployment was stopped"});
        }
        if let Some(id) = &self.rolls_back {
            info["creator"] = json!("codeDeployRollback");
            info["rollbackInfo"] = json!({"rollbackTriggeringDeploymentId": id});
        }
        info
    }

    /// Id of the only target, the service.
    pub fn target_id(&self) -> String {
        format!("{CLUSTER}:{}", self.repository)
    }

    /// The only target in the response of `BatchGetDeploymentTargets`. `first_part` is the percentage that a canary configuration moves first.
    pub fn target(&self, first_part: Option<u8>) -> Value {
        let lifecycle: Vec<Value> = self.lifecycle.iter().map(|event| event.shown(self.backdated())).collect();
        let green = match (self.rolled_back_by.is_some(), self.has_shifted()) {
            (true, _) => 0,
            (false, true) => 100,
            (false, false) => first_part.filter(|_| self.is_shifting()).unwrap_or(0),
        };
        let task_set = |label: &str, weight: u8, group: u8| {
            json!({
                "targetGroup": {"name": names::target_group(&self.repository, group)},
                "identifer": format!("ecs-svc/{}-{label}", self.id), "desiredCount": 1, "pendingCount": 0, "runningCount": 1,
                "status": if weight == 100 { "PRIMARY" } else { "ACTIVE" }, "trafficWeight": weight, "taskSetLabel": label,
            })
        };
        let status = match self.status {
            BlueGreenStatus::Stopped => "Skipped",
            other => other.name(),
        };
        json!({"deploymentTargetType": "ECSTarget", "ecsTarget": {
            "deploymentId": self.id, "targetId": self.target_id(), "status": status,
            "targetArn": format!("arn:aws:ecs:{REGION}:{USER_ACCOUNT}:service/{CLUSTER}/{}", self.repository),
            "lastUpdatedAt": epoch(self.completed.unwrap_or_else(Utc::now)), "lifecycleEvents": lifecycle,
            "taskSetsInfo": [task_set("Blue", 100 - green, self.blue_group), task_set("Green", green, 3 - self.blue_group)],
        }})
    }
}

impl Lifecycle {
    /// The event in a response. Those before the wait are shown as `backdated`.
    fn shown(&self, backdated: TimeDelta) -> Value {
        let earlier = if self.phase.is_before_wait() { backdated } else { TimeDelta::zero() };
        let mut shown = json!({"lifecycleEventName": format!("{:?}", self.phase), "status": self.status});
        if let Some(started) = self.started {
            shown["startTime"] = json!(epoch(started - earlier));
        }
        if let Some(ended) = self.ended {
            shown["endTime"] = json!(epoch(ended - earlier));
        }
        shown
    }
}
