//! What a person may do to a deployment, as scripts. Between them they come to every step; a step that is added later needs one that
//! comes to it, and nothing else.

use std::collections::BTreeMap;

use panda::db::deployments::DeploymentView;
use panda::domain::Deployment;
use panda::sandbox::{ExecutionFault, Outcome, RepositoryEffects};
use pretty_assertions::assert_eq;

use crate::support::world::World;

/// All of them. The first is the one without trouble.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "switched",
        trouble: |_| {},
        wishes: &[(|now| now.status == "DEPLOYMENT_READY", Wish::Switch)],
        end: ("COMPLETED", None),
        attempts: 1,
        effects: |effects| {
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
            assert!(effects.stopped.is_empty() && effects.executions_stopped == 0, "{effects:?}");
        },
    },
    Scenario {
        name: "cancelled",
        // Held where the execution runs and CodeDeploy is up: both are to be stopped.
        trouble: |world| {
            let held = ExecutionFault { state: "CheckDeployment".to_owned(), outcome: Outcome::Stuck };
            world.sandbox.faults().update(|faults| _ = faults.executions.insert(world.ecr_repository(), held));
        },
        wishes: &[(|now| now.step == "follow_execution" && now.code_deploy, Wish::Cancel)],
        end: ("FAILED", Some("CANCELLED")),
        attempts: 1,
        effects: |effects| {
            assert_eq!(effects.executions_stopped, 1, "{effects:?}");
            assert!(once(&effects.stopped), "one stop: {effects:?}");
            assert!(effects.continued.is_empty() && effects.shifted.is_empty(), "{effects:?}");
        },
    },
    Scenario {
        name: "retried",
        // It fails with CodeDeploy up, which the next attempt has to stop before it starts the pipeline again.
        trouble: |world| {
            let outcome = Outcome::Fail { error: "Lambda.Unknown".to_owned(), cause: "the task broke".to_owned() };
            let fails = ExecutionFault { state: "CheckDeployment".to_owned(), outcome };
            world.sandbox.faults().update(|faults| _ = faults.executions.insert(world.ecr_repository(), fails));
        },
        wishes: &[
            (|now| now.status == "FAILED" && now.attempt == 1, Wish::Retry),
            (|now| now.status == "DEPLOYMENT_READY", Wish::Switch),
        ],
        end: ("COMPLETED", None),
        attempts: 2,
        effects: |effects| {
            assert!(once(&effects.stopped), "what the first attempt left is stopped once: {effects:?}");
            assert!(once(&effects.continued) && once(&effects.shifted), "one switch: {effects:?}");
        },
    },
];

/// A script.
pub struct Scenario {
    /// For messages.
    pub name: &'static str,
    /// What goes wrong outside, for this world's repository alone.
    pub trouble: fn(&World),
    /// What a person wishes, and when: again and again as long as it is the time, which is as good as once.
    pub wishes: &'static [(When, Wish)],
    /// The status at the end, with the error's code.
    pub end: (&'static str, Option<&'static str>),
    /// How often the image is pushed or tagged, and an execution started.
    pub attempts: u32,
    /// Checks what it leaves outside, beside what every deployment does once.
    pub effects: fn(&RepositoryEffects),
}

/// Whether it is the time.
type When = fn(&Moment) -> bool;

/// A wish of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Switch,
    Cancel,
    /// Once what went wrong is mended.
    Retry,
}

/// Where a deployment is, as far as a script asks.
pub struct Moment {
    pub status: String,
    pub step: String,
    pub attempt: i32,
    /// Whether a `CodeDeploy` deployment is known.
    pub code_deploy: bool,
}

impl From<&DeploymentView> for Moment {
    fn from(view: &DeploymentView) -> Self {
        let code_deploy = view.code_deploy_deployment_id.is_some();
        Self { status: view.status.clone(), step: view.step.clone(), attempt: view.attempt, code_deploy }
    }
}

impl From<&Deployment> for Moment {
    fn from(row: &Deployment) -> Self {
        let code_deploy = row.facts.code_deploy_deployment_id.is_some();
        Self { status: row.status.to_string(), step: row.step.clone(), attempt: row.attempt, code_deploy }
    }
}

impl Scenario {
    /// The wish whose time it is.
    pub fn wish(&self, now: impl Into<Moment>) -> Option<Wish> {
        let now = now.into();
        self.wishes.iter().find(|(is_time, _)| is_time(&now)).map(|(_, wish)| *wish)
    }

    /// Nothing goes wrong any more in this world's repository.
    pub fn mend(world: &World) {
        world.sandbox.faults().update(|faults| _ = faults.executions.remove(&world.ecr_repository()));
    }

    /// One of each, outside.
    pub fn check_effects(&self, world: &World) {
        let effects = world.sandbox.effects(&world.ecr_repository());
        assert_eq!((effects.created, effects.rules.len(), effects.targets.len()), (1, 1, 1), "{effects:?}");
        let each = |counters: &BTreeMap<String, u32>| counters.values().copied().collect::<Vec<_>>() == [self.attempts];
        assert!(each(&effects.pushes), "one push of one digest an attempt: {effects:?}");
        assert!(each(&effects.executions), "one execution an attempt: {effects:?}");
        (self.effects)(&effects);
        let permissions = world.sandbox.all_effects().permissions;
        assert!(once(&permissions), "one permission: {permissions:?}");
    }
}

fn once(counters: &BTreeMap<String, u32>) -> bool {
    counters.values().copied().collect::<Vec<_>>() == [1]
}
