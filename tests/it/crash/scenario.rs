//! Scripts of commands to a deployment. Together they reach every step: a new step needs a scenario that reaches it, and nothing else.

use std::collections::BTreeMap;

use panda::db::deployments::DeploymentView;
use panda::domain::Deployment;
use panda_sandbox::{CanaryConfiguration, ExecutionFault, Outcome, RepositoryEffects, RolloutStyle, ShiftFault};
use pretty_assertions::assert_eq;
use serde_json::json;

use crate::reconcile::gates::store;
use crate::reconcile::histories::unapproved;
use crate::support::environment::Environment;

/// A target without a policy.
const NONE: &str = "";

/// A gate that the service passes.
const GATED: &str = r#"{"gates": [{"name": "green", "at": "before_switch", "every": 5, "times": 1, "failures": 1, "noData": "wait",
    "onFail": "rollback", "http": {"path": "/", "codes": "200-399"}}]}"#;

/// A gate that the service fails once all traffic is on green.
const FAILS_AT_BAKE: &str = r#"{"gates": [{"name": "live", "at": "bake", "every": 5, "times": 1, "failures": 1, "noData": "wait",
    "onFail": "rollback", "http": {"path": "/", "codes": "500"}}]}"#;

/// Further scenarios of rollouts of ECS itself.
pub const OF_ECS: &[Scenario] = &[
    Scenario {
        name: "canary",
        faults: |env| {
            let canary = RolloutStyle::Canary { percent: 10 };
            env.sandbox.faults().update(|faults| _ = faults.rollouts.insert(env.ecr_repository(), canary));
        },
        // Repeated: the second pause needs its own approval.
        commands: &[(|now| now.status == "DEPLOYMENT_READY", Command::Switch)],
        end: ("COMPLETED", None),
        attempts: 1,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [2], "two approvals: {effects:?}");
            assert!(once(&effects.shifted) && effects.stopped.is_empty(), "{effects:?}");
        },
    },
    Scenario {
        name: "unreported",
        // The pipeline names cluster and service alone.
        faults: |env| env.sandbox.faults().update(|faults| _ = faults.unreported.insert(env.ecr_repository())),
        commands: &[(|now| now.status == "DEPLOYMENT_READY", Command::Switch)],
        end: ("COMPLETED", None),
        attempts: 1,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted) && effects.stopped.is_empty(), "{effects:?}");
        },
    },
];

/// Steps that only rollouts of ECS reach.
pub const ONLY_OF_ECS: [&str; 1] = ["find_rollout"];

/// Steps before the rollout, which are the same for both back ends.
pub const BEFORE_THE_ROLLOUT: [&str; 7] = [
    "ensure_event_rule",
    "grant_event_bus",
    "fetch_source",
    "build_image",
    "push_image",
    "find_execution",
    "follow_execution",
];

/// All scenarios. The first has no failures.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "switched",
        // A configuration of the user's own has to be looked up; CodeDeploy's own are known. It holds for the other scenarios too.
        faults: |env| {
            let ours = CanaryConfiguration { name: "ours".to_owned(), interval_minutes: 5 };
            env.sandbox.faults().update(|faults| faults.code_deploy_configuration = Some(ours));
        },
        commands: &[(|now| now.status == "DEPLOYMENT_READY", Command::Switch)],
        end: ("COMPLETED", None),
        attempts: 1,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
            assert!(effects.stopped.is_empty() && effects.executions_stopped == 0, "{effects:?}");
        },
    },
    Scenario {
        name: "cancelled",
        // Held while the execution runs and CodeDeploy has started: both have to be stopped.
        faults: |env| {
            let held = ExecutionFault { state: "CheckDeployment".to_owned(), outcome: Outcome::Stuck };
            env.sandbox.faults().update(|faults| _ = faults.executions.insert(env.ecr_repository(), held));
        },
        commands: &[(|now| now.step == "follow_execution" && now.rollout, Command::Cancel)],
        end: ("FAILED", Some("CANCELLED")),
        attempts: 1,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert_eq!(effects.executions_stopped, 1, "{effects:?}");
            assert!(once(&effects.stopped), "one stop: {effects:?}");
            assert!(effects.continued.is_empty() && effects.shifted.is_empty(), "{effects:?}");
        },
    },
    Scenario {
        name: "succeeded_without_approval",
        // The execution succeeds, and the output of its check is absent: CodeDeploy has to be asked.
        faults: |env| {
            let history = unapproved(&json!({"codeDeployDeploymentId": "{codeDeployDeploymentId}"}), None);
            env.sandbox.faults().update(|faults| _ = faults.histories.insert(env.ecr_repository(), history));
        },
        commands: &[(|now| now.status == "DEPLOYMENT_READY", Command::Switch)],
        end: ("COMPLETED", None),
        attempts: 1,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
            assert!(effects.stopped.is_empty() && effects.executions_stopped == 0, "{effects:?}");
        },
    },
    Scenario {
        name: "rolled_back",
        // The hook after the switch fails once the deployment is COMPLETED.
        faults: |env| {
            let held = ShiftFault::HoldHook;
            env.sandbox.faults().update(|faults| _ = faults.shifts.insert(env.ecr_repository(), held));
        },
        commands: &[
            (|now| now.status == "DEPLOYMENT_READY", Command::Switch),
            (|now| now.status == "COMPLETED", Command::FailHook),
        ],
        end: ("FAILED", Some("ROLLED_BACK_AFTER_SWITCH")),
        attempts: 1,
        policy: GATED,
        again: &[],
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
            assert!(effects.stopped.is_empty() && effects.executions_stopped == 0, "{effects:?}");
        },
    },
    Scenario {
        name: "rolled_back_at_bake",
        // Blue lives: the failed gate takes the traffic back.
        faults: |env| {
            let held = ShiftFault::HoldBlue;
            env.sandbox.faults().update(|faults| _ = faults.shifts.insert(env.ecr_repository(), held));
        },
        commands: &[(|now| now.status == "DEPLOYMENT_READY", Command::Switch)],
        end: ("FAILED", Some("ROLLED_BACK_AFTER_SWITCH")),
        attempts: 1,
        policy: FAILS_AT_BAKE,
        again: &["check_gates", "cancel"],
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
            assert!(once(&effects.stopped), "one stop: {effects:?}");
        },
    },
    Scenario {
        name: "rolled_back_on_request",
        // Blue lives: AWS takes the traffic back.
        faults: |env| {
            let held = ShiftFault::HoldBlue;
            env.sandbox.faults().update(|faults| _ = faults.shifts.insert(env.ecr_repository(), held));
        },
        commands: &[
            (|now| now.status == "DEPLOYMENT_READY", Command::Switch),
            (|now| now.status == "COMPLETED", Command::Rollback),
        ],
        end: ("FAILED", Some("ROLLED_BACK_AFTER_SWITCH")),
        attempts: 1,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
            assert!(once(&effects.stopped), "one stop: {effects:?}");
        },
    },
    Scenario {
        name: "retried",
        // Fails after CodeDeploy started; the next attempt has to stop it before it starts the pipeline again.
        faults: |env| {
            let outcome = Outcome::Fail { error: "Lambda.Unknown".to_owned(), cause: "the task broke".to_owned() };
            let fails = ExecutionFault { state: "CheckDeployment".to_owned(), outcome };
            env.sandbox.faults().update(|faults| _ = faults.executions.insert(env.ecr_repository(), fails));
        },
        commands: &[
            (|now| now.status == "FAILED" && now.attempt == 1, Command::Retry),
            (|now| now.status == "DEPLOYMENT_READY", Command::Switch),
        ],
        end: ("COMPLETED", None),
        attempts: 2,
        policy: NONE,
        again: &[],
        effects: |effects| {
            assert!(once(&effects.stopped), "the first attempt's CodeDeploy deployment is stopped once: {effects:?}");
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
        },
    },
];

pub struct Scenario {
    pub name: &'static str,
    /// Sets external faults, for this environment's repository only.
    pub faults: fn(&Environment),
    /// Commands with their conditions. A command is repeated as long as its condition holds, which has the effect of one.
    pub commands: &'static [(Condition, Command)],
    /// The final status, with the error's code.
    pub end: (&'static str, Option<&'static str>),
    /// Number of pushes or tags of the image, and of started executions.
    pub attempts: u32,
    /// Policy of the target, as JSON.
    pub policy: &'static str,
    /// Steps that do something else here than in earlier scenarios, which reach them as well.
    pub again: &'static [&'static str],
    /// Checks external effects beyond those that every deployment has once.
    pub effects: fn(&RepositoryEffects),
}

/// Condition of a command.
type Condition = fn(&Progress) -> bool;

/// A command of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Switch,
    Cancel,
    Rollback,
    /// Retry after the fault is removed.
    Retry,
    /// Not a caller's: AWS takes the traffic back, and the watch requests a look.
    FailHook,
}

/// The state of a deployment as far as conditions need it.
pub struct Progress {
    pub status: String,
    pub step: String,
    pub attempt: i32,
    /// True once a rollout is known.
    pub rollout: bool,
}

impl From<&DeploymentView> for Progress {
    fn from(view: &DeploymentView) -> Self {
        let rollout = view.facts.rollout().is_some();
        Self { status: view.status.clone(), step: view.step.clone(), attempt: view.attempt, rollout }
    }
}

impl From<&Deployment> for Progress {
    fn from(row: &Deployment) -> Self {
        let rollout = row.facts.rollout().is_some();
        Self { status: row.status.to_string(), step: row.step.clone(), attempt: row.attempt, rollout }
    }
}

impl Scenario {
    /// Stores the policy, and sets the back end of this environment's repository and the scenario's faults.
    pub async fn prepare(&self, env: &Environment, style: RolloutStyle) {
        if let Ok(policy) = serde_json::from_str(self.policy) {
            store(env, policy).await;
        }
        env.sandbox.faults().update(|faults| _ = faults.rollouts.insert(env.ecr_repository(), style));
        (self.faults)(env);
    }

    /// The command that is due.
    pub fn command(&self, now: impl Into<Progress>) -> Option<Command> {
        let now = now.into();
        self.commands.iter().find(|(is_time, _)| is_time(&now)).map(|(_, command)| *command)
    }

    /// Removes all faults of this environment's repository.
    pub fn clear_faults(env: &Environment) {
        env.sandbox.faults().update(|faults| _ = faults.executions.remove(&env.ecr_repository()));
    }

    /// Fails the hook after the switch.
    pub fn fail_hook(env: &Environment) {
        env.sandbox.faults().update(|faults| _ = faults.shifts.insert(env.ecr_repository(), ShiftFault::FailHook));
    }

    /// Checks that each external effect happened once.
    pub fn check_effects(&self, env: &Environment) {
        let effects = env.sandbox.effects(&env.ecr_repository());
        assert_eq!((effects.created, effects.rules.len(), effects.targets.len()), (1, 1, 1), "{effects:?}");
        let each = |counters: &BTreeMap<String, u32>| counters.values().copied().collect::<Vec<_>>() == [self.attempts];
        assert!(each(&effects.pushes), "one push of one digest an attempt: {effects:?}");
        assert!(each(&effects.executions), "one execution an attempt: {effects:?}");
        (self.effects)(&effects);
        let permissions = env.sandbox.all_effects().permissions;
        assert!(once(&permissions), "one permission: {permissions:?}");
    }
}

fn once(counters: &BTreeMap<String, u32>) -> bool {
    counters.values().copied().collect::<Vec<_>>() == [1]
}
