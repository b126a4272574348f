//! What a deployment does, one file a step.
//!
//! # The contract of a step
//! A step looks at the outside first, acts only where the work is not there yet, and returns what happens next as data. It has no
//! database handle: the driver (`reconcile`) commits outcome, facts and events in one fenced transaction, and may run a step
//! again from its beginning at any time, because a process died after the outside call and before that commit. So:
//!
//! - whatever a step does twice must have one effect (names come from the deployment, upserts, look first);
//! - whatever a step tells twice is told once (an event's key names the occurrence);
//! - dropping a step's future stops its work: a build, a clone, a wait.
//!
//! A new step is a file with an `impl Run` and a line in the list below. Stored names never change meaning.

mod await_switch;
mod build_config;
mod build_image;
mod builder;
mod cancel;
mod confirm_switch;
mod ecr_repository;
mod ensure_event_rule;
mod fetch_source;
mod find_execution;
mod follow_execution;
mod grant_event_bus;
mod outcome;
mod publish_image;
mod push_image;
mod resume;
mod switch_traffic;
mod verify_green;
mod workspace;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clients::aws::{Aws, UserAws};
use crate::clients::builders::Builders;
use crate::clients::docker::{BuildLimits, Docker};
use crate::clients::git::Git;
use crate::clients::probe::Probe;
use crate::clients::registry_logins::RegistryLogins;
use crate::domain::connection::GithubConnection;
use crate::domain::deployment::Deployment;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::mask::Mask;
use crate::domain::names::Names;

pub use await_switch::AwaitSwitch;
pub use build_image::{BuildImage, DEPLOYMENT_LABEL};
pub use cancel::Cancel;
pub use confirm_switch::ConfirmSwitch;
pub use ensure_event_rule::EnsureEventRule;
pub use fetch_source::FetchSource;
pub use find_execution::FindExecution;
pub use follow_execution::FollowExecution;
pub use grant_event_bus::GrantEventBus;
pub use outcome::{Outcome, StepError, Then};
pub use push_image::PushImage;
pub use resume::{Past, Resume};
pub use switch_traffic::SwitchTraffic;
pub use verify_green::VerifyGreen;
pub use workspace::{remove_workspace, workspace_of};

/// Clients and settings that every step may use.
pub struct Services {
    /// AWS, both accounts.
    pub aws: Aws,
    /// The engine whose leftovers are removed.
    pub docker: Docker,
    /// What builds.
    pub builders: Builders,
    /// Logins of registries that the operator configured.
    pub registry_logins: RegistryLogins,
    /// Git over HTTP.
    pub git: Git,
    /// Health checks.
    pub probe: Probe,
    /// Names in AWS.
    pub names: Names,
    /// Times and places.
    pub settings: Settings,
}

/// Times and places, from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The controller's event bus.
    pub event_bus: String,
    /// Role that EventBridge assumes to put events on the controller's bus.
    pub rule_target_role_arn: Option<String>,
    /// Where repositories are cloned from.
    pub github_url: Url,
    /// Folder for checked-out sources.
    pub workspace_dir: PathBuf,
    /// Network mode of builds.
    pub build_network: Option<String>,
    /// What a build may use.
    pub build_limits: BuildLimits,
    /// Whether remote builds keep their layers in ECR.
    pub build_cache: bool,
    /// Time between two looks at an execution.
    pub poll_interval: Duration,
    /// Longest following of an execution.
    pub follow_limit: Duration,
    /// Longest wait for the execution's ARN after the push.
    pub execution_wait: Duration,
    /// Longest build.
    pub build_limit: Duration,
    /// Longest push.
    pub push_limit: Duration,
    /// Longest traffic shift.
    pub switch_limit: Duration,
    /// Longest time of any other step.
    pub step_limit: Duration,
    /// Longest time of a whole attempt, from its beginning until it is ready for the switch.
    pub deployment_limit: Duration,
    /// Time between two health checks.
    pub health_interval: Duration,
}

/// What a step is given.
pub struct Context<'a> {
    /// The deployment.
    pub deployment: &'a Deployment,
    /// The connection to the source.
    pub github: &'a GithubConnection,
    /// The user's AWS account.
    pub user: &'a UserAws,
    /// Clients and settings.
    pub services: &'a Services,
    /// Tells what happens while the step is still at work.
    pub reporter: &'a Reporter,
    /// Cancelled when the step's future is dropped: for work on threads that no drop can reach.
    pub stopped: &'a CancellationToken,
}

/// Tells events in the middle of a step; the driver commits them in batches, in order, before the step's outcome.
#[derive(Clone, Debug)]
pub struct Reporter {
    events: mpsc::Sender<Event>,
}

impl Reporter {
    /// A reporter and the end where the driver receives; `capacity` events wait at most, then telling waits.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Event>) {
        let (events, received) = mpsc::channel(capacity);
        (Self { events }, received)
    }

    /// Tells `event`.
    pub async fn tell(&self, event: Event) {
        // A closed channel means that the driver has given this step up and is about to drop it.
        let _ = self.events.send(event).await;
    }
}

/// Which permits a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// None: it only makes short calls.
    Light,
    /// A build permit: it uses disk, processor and the engine for minutes.
    Heavy,
}

/// One step: its stored state is the type itself.
trait Run: Serialize + DeserializeOwned {
    /// Stored name; never changes meaning.
    const NAME: &'static str;
    /// Stage as users see it, 1 to 4.
    const STAGE: u8;
    /// Which permits it needs.
    const LANE: Lane = Lane::Light;
    /// Advisory lock that is held while it runs, where parallel runs would undo each other.
    const LOCK: Option<&'static str> = None;
    /// The failure when its time is up and no error says more.
    const TIMED_OUT: ErrorCode = ErrorCode::StepTimedOut;

    /// Its time limit, waiting included.
    fn limit(settings: &Settings) -> Duration {
        settings.step_limit
    }

    /// Looks, acts where needed, says what comes next.
    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError>;
}

macro_rules! steps {
    ($($step:ident),+ $(,)?) => {
        /// A step with what it knows from the steps before it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Step { $(
            #[doc = concat!("See [`", stringify!($step), "`].")]
            $step($step)
        ),+ }

        $(impl From<$step> for Step {
            fn from(step: $step) -> Self { Self::$step(step) }
        })+

        impl Step {
            /// Stored names, in the order of a deployment without trouble; what begins another attempt and what ends one early come last.
            pub const NAMES: &'static [&'static str] = &[$($step::NAME),+];

            /// The step as stored.
            ///
            /// # Errors
            /// What is wrong with the name or the state.
            pub fn parse(name: &str, state: &Value) -> Result<Self, String> {
                match name {
                    $($step::NAME => serde_json::from_value(state.clone()).map(Self::$step)
                        .map_err(|error| format!("the state of step {name} cannot be read: {error}")),)+
                    _ => Err(format!("this version does not know the step {name:?}")),
                }
            }

            /// Stored name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$step(_) => $step::NAME),+ }
            }

            /// State to store.
            pub fn state(&self) -> Value {
                let state = match self { $(Self::$step(step) => serde_json::to_value(step)),+ };
                // Plain structs of strings and numbers always serialise; a null would be refused by `parse`, not misread.
                state.unwrap_or(Value::Null)
            }

            /// Takes known secrets out of the state.
            pub fn mask(&mut self, mask: &Mask) {
                let mut state = self.state();
                mask.value(&mut state);
                // A state with other texts in it is a state all the same.
                if let Ok(masked) = Self::parse(self.name(), &state) {
                    *self = masked;
                }
            }

            /// Stage as users see it.
            pub fn stage(&self) -> u8 {
                match self { $(Self::$step(_) => $step::STAGE),+ }
            }

            /// Permits it needs.
            pub fn lane(&self) -> Lane {
                match self { $(Self::$step(_) => $step::LANE),+ }
            }

            /// Lock that is held while it runs.
            pub fn lock(&self) -> Option<&'static str> {
                match self { $(Self::$step(_) => $step::LOCK),+ }
            }

            /// Its time limit.
            pub fn limit(&self, settings: &Settings) -> Duration {
                match self { $(Self::$step(_) => $step::limit(settings)),+ }
            }

            /// Names of all steps with their time limits.
            pub fn limits(settings: &Settings) -> Vec<(String, Duration)> {
                vec![$(($step::NAME.to_owned(), $step::limit(settings))),+]
            }

            /// The failure when its time is up and no error says more.
            pub fn timed_out(&self) -> ErrorCode {
                match self { $(Self::$step(_) => $step::TIMED_OUT),+ }
            }

            /// Runs it. Boxed: thousands sleep between two runs, and would each keep the room of the largest step.
            pub async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
                match self { $(Self::$step(step) => Box::pin(step.run(cx)).await),+ }
            }

            /// What follows when a person wishes to cancel; none when that is under way already.
            pub fn cancelled(&self) -> Option<Self> {
                match self {
                    Self::Cancel(_) => None,
                    _ => Some(Cancel { during: self.name().to_owned(), state: self.state(), stage: self.stage(), looks: 0, stopping: false }.into()),
                }
            }

            /// Names of the steps that need a build permit.
            pub fn heavy_names() -> Vec<String> {
                [$(($step::NAME, $step::LANE)),+].into_iter()
                    .filter(|(_, lane)| *lane == Lane::Heavy)
                    .map(|(name, _)| name.to_owned())
                    .collect()
            }
        }
    };
}

steps! {
    EnsureEventRule,
    GrantEventBus,
    FetchSource,
    BuildImage,
    PushImage,
    FindExecution,
    FollowExecution,
    VerifyGreen,
    AwaitSwitch,
    SwitchTraffic,
    ConfirmSwitch,
    Resume,
    Cancel,
}

/// Where every deployment begins.
pub const FIRST_STEP: &str = EnsureEventRule::NAME;

/// Where every attempt after the first begins.
pub const RETRY_STEP: &str = Resume::NAME;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Rows of running deployments hold these names: renaming one strands them.
    #[test]
    fn stored_names_and_states_never_change_meaning() {
        assert_eq!(
            Step::NAMES,
            [
                "ensure_event_rule",
                "grant_event_bus",
                "fetch_source",
                "build_image",
                "push_image",
                "find_execution",
                "follow_execution",
                "verify_green",
                "await_switch",
                "switch_traffic",
                "confirm_switch",
                "resume",
                "cancel"
            ]
        );
        for (name, state) in [
            ("ensure_event_rule", json!({"denials": 0})),
            ("grant_event_bus", json!({"rule_pending": false})),
            ("fetch_source", json!({})),
            ("build_image", json!({"dockerfile": "Dockerfile"})),
            ("push_image", json!({"image": "a-b:dep_1"})),
            ("push_image", json!({"image": "a-b:dep_1", "reuse": true})),
            ("push_image", json!({"image": "a-b:dep_1", "renewals": 2})),
            ("push_image", json!({"image": "", "publish": "sha256:0"})),
            ("find_execution", json!({"image_tag": "dep_1", "image_digest": "sha256:0"})),
            ("follow_execution", json!({"execution_arn": "arn:x", "task_failed": false})),
            ("verify_green", json!({"green_url": "http://g", "code_deploy_deployment_id": "d-1"})),
            ("await_switch", json!({"code_deploy_deployment_id": "d-1"})),
            ("switch_traffic", json!({"code_deploy_deployment_id": "d-1"})),
            ("confirm_switch", json!({"code_deploy_deployment_id": "d-1"})),
            (
                "resume",
                json!({"step": "push_image", "state": {"image": "a-b:dep_1"}, "past": {"executionArn": "arn:x"}}),
            ),
            ("cancel", json!({"during": "build_image", "stage": 1, "looks": 0, "stopping": false})),
        ] {
            let step = Step::parse(name, &state).unwrap();
            assert_eq!((step.name(), step.state()), (name, state));
        }
        assert!(Step::parse(FIRST_STEP, &json!({})).is_ok(), "a new row has no state");
        assert!(Step::parse("follow_execution", &json!({})).unwrap_err().contains("execution_arn"));
        assert!(Step::parse("dance", &json!({})).unwrap_err().contains("dance"));
    }

    #[test]
    fn only_the_build_steps_need_a_permit() {
        assert_eq!(Step::heavy_names(), ["fetch_source", "build_image", "push_image"]);
    }
}
