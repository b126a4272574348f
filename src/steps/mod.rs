//! The steps of a deployment, one file per step.
//!
//! # The contract of a step
//! A step first checks the external services, acts only where the work has not been done yet, and returns the next transition as data. It has no
//! database handle: the driver (`reconcile`) commits transition, facts and events in one fenced transaction. The driver may run a step again from its
//! beginning at any time, because a process can die after an external call and before that commit. Therefore:
//!
//! - repeating a step's calls must have a single effect (names derived from the deployment, upserts, checking first);
//! - repeating an event must store it once (the event's key identifies the occurrence);
//! - dropping a step's future stops its work: a build, a clone, a wait.
//!
//! A new step is a file with an `impl RunStep` and a line in the list below. Stored names never change their meaning.

mod await_switch;
mod build_config;
mod build_image;
mod builder;
mod cancel;
mod check_rollout;
mod confirm_switch;
mod ecr_repository;
mod ensure_event_rule;
mod fetch_source;
mod find_execution;
mod follow_execution;
mod grant_event_bus;
mod latest_execution;
mod missing_link;
mod outcome;
mod publish_image;
mod push_image;
mod replacement;
mod reporter;
mod resume;
mod rollout;
mod switch_traffic;
mod verify_green;
mod watch_traffic;
mod workspace;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clients::aws::{Aws, Priority, StatusQueue, UserAws};
use crate::clients::builder_pool::BuilderPool;
use crate::clients::docker::{BuildLimits, Docker};
use crate::clients::git::Git;
use crate::clients::probe::Probe;
use crate::clients::registry_logins::RegistryLogins;
use crate::domain::bus_policy::BusPolicy;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::deployment::Deployment;
use crate::domain::failure::ErrorCode;
use crate::domain::mask::Mask;
use crate::domain::names::Names;
use crate::domain::step_stage::StepStage;

pub use await_switch::AwaitSwitch;
pub use build_image::{BuildImage, DEPLOYMENT_LABEL};
pub use cancel::Cancel;
pub use check_rollout::CheckRollout;
pub use confirm_switch::ConfirmSwitch;
pub use ensure_event_rule::EnsureEventRule;
pub use fetch_source::FetchSource;
pub use find_execution::FindExecution;
pub use follow_execution::FollowExecution;
pub use grant_event_bus::{BUS_POLICY_LOCK, GrantEventBus};
pub use outcome::{Pace, StepError, StepOutcome, Transition};
pub use push_image::PushImage;
pub use reporter::Reporter;
pub use resume::Resume;
pub(crate) use rollout::is_shifting;
pub use switch_traffic::SwitchTraffic;
pub use verify_green::VerifyGreen;
pub use watch_traffic::WatchTraffic;
pub use workspace::{remove_workspace, workspace_of};

/// Clients and settings shared by all steps.
pub struct Services {
    /// AWS clients for both accounts.
    pub aws: Aws,
    /// Docker engine in which obsolete images are removed.
    pub docker: Docker,
    /// Pool of builders, one of which serves each repository.
    pub builders: BuilderPool,
    /// Operator-configured registry logins for base images.
    pub registry_logins: RegistryLogins,
    /// Client that fetches sources over HTTP.
    pub git: Git,
    /// Client for health checks of blue and green.
    pub probe: Probe,
    /// Queue with status events of AWS.
    pub status_queue: Option<StatusQueue>,
    /// Naming rules for resources in AWS.
    pub names: Names,
    /// Time limits, addresses and folders.
    pub settings: Settings,
}

/// Time limits, addresses and folders from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the controller's event bus.
    pub event_bus: String,
    /// Owner of the content of the bus policy.
    pub bus_policy: BusPolicy,
    /// Organization whose accounts the bus policy may permit as a whole.
    pub bus_organization: Option<String>,
    /// ARN of the role that EventBridge assumes to put events on the controller's bus, for connections without their own; `{account}` in it stands
    /// for the account's id.
    pub rule_target_role_arn: Option<String>,
    /// Base URL of the repositories.
    pub github_url: Url,
    /// Folder for fetched sources.
    pub workspace_dir: PathBuf,
    /// Network mode of RUN steps in builds.
    pub build_network: Option<String>,
    /// Resource limits of a build.
    pub build_limits: BuildLimits,
    /// Set when remote builds cache their layers in ECR.
    pub build_cache: bool,
    /// Time between two polls of an execution.
    pub poll_interval: Duration,
    /// Time limit for following an execution.
    pub follow_limit: Duration,
    /// Time limit for the execution's ARN to appear after the push.
    pub execution_wait: Duration,
    /// Time limit of the build step.
    pub build_limit: Duration,
    /// Time limit of the push step.
    pub push_limit: Duration,
    /// Time limit of the traffic shift.
    pub switch_limit: Duration,
    /// Time between two comparisons of a watched deployment with AWS.
    pub watch_interval: Duration,
    /// Time limit of any other step.
    pub step_limit: Duration,
    /// Time limit of a whole attempt, from its beginning until it is ready for the switch.
    pub deployment_limit: Duration,
    /// Time between two health checks.
    pub health_interval: Duration,
}

/// Input of a step: the deployment, its connections and the shared services.
pub struct StepContext<'a> {
    /// Deployment as of the last commit.
    pub deployment: &'a Deployment,
    /// GitHub connection that provides the source.
    pub github: &'a GithubConnection,
    /// Connection to the user's account.
    pub aws: &'a AwsConnection,
    /// AWS clients for the user's account.
    pub user: &'a UserAws,
    /// Clients and settings shared by all steps.
    pub services: &'a Services,
    /// The step's last poll found news, so that the next one is likely to find more.
    pub expects_news: bool,
    /// Emits events while the step is still running.
    pub reporter: &'a Reporter,
    /// Cancelled when the step's future is dropped: for work on threads that dropping cannot reach.
    pub stopped: &'a CancellationToken,
}

/// Resource class of a step: the permits that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceClass {
    /// No permit: the step only makes short calls.
    Light,
    /// A build permit: the step uses disk, CPU and the engine for minutes.
    Heavy,
}

/// Behaviour of one step; the implementing type is the step's stored state.
trait RunStep: Serialize + DeserializeOwned {
    /// Stored name, which never changes its meaning.
    const NAME: &'static str;
    /// Stage shown to users, 1 to 4.
    const STAGE: u8;
    /// Stage in reports, and the one that replaces it once blue/green has begun.
    const REPORTED: (&'static str, Option<&'static str>) = (stage_name(Self::STAGE), None);
    const RESOURCE_CLASS: ResourceClass = ResourceClass::Light;
    /// Priority of the step's calls to AWS where an account's quota is scarce.
    const PRIORITY: Priority = Priority::Normal;
    /// Advisory lock to hold while the step runs, where parallel runs would undo each other.
    const LOCK: Option<&'static str> = None;
    /// Failure code when the time limit is exceeded and no error is more precise.
    const TIMED_OUT: ErrorCode = ErrorCode::StepTimedOut;

    /// Returns the step's time limit, waiting included.
    fn limit(settings: &Settings) -> Duration {
        settings.step_limit
    }

    /// Largest value of [`Self::extra_limit`].
    const LONGEST_EXTRA: Duration = Duration::ZERO;

    /// Returns the part of the time limit that depends on the step's state.
    fn extra_limit(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the outcome that replaces a failure when the time limit is exceeded; `last_error` is the error of the last run.
    fn after_limit(&self, _last_error: Option<ErrorCode>) -> Option<StepOutcome> {
        None
    }

    /// Returns how many executions of the push were followed before this step's; `None` if a failure of the step is final, whatever becomes of others.
    fn replaced(&self) -> Option<u8> {
        None
    }

    /// Finds the cause after the time limit was exceeded, by reading only; `None` if the step knows no more than its last wait.
    async fn timeout_cause(&self, _: &StepContext<'_>) -> Option<String> {
        None
    }

    /// Checks the external services, acts where needed, and returns the next transition.
    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError>;
}

/// Leaves a field with the default value out of a stored state.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Returns the name of a stage in reports.
const fn stage_name(stage: u8) -> &'static str {
    match stage {
        1 => "Stage 1",
        2 => "Stage 2",
        3 => "Stage 3",
        _ => "Stage 4",
    }
}

macro_rules! steps {
    ($($step:ident),+ $(,)?) => {
        /// A step together with its state from earlier steps.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Step { $(
            #[doc = concat!("See [`", stringify!($step), "`].")]
            $step($step)
        ),+ }

        $(impl From<$step> for Step {
            fn from(step: $step) -> Self { Self::$step(step) }
        })+

        impl Step {
            /// Stored names, in the order of a deployment without failures; the steps that begin a further attempt or end one early come last.
            pub const NAMES: &'static [&'static str] = &[$($step::NAME),+];

            /// Restores a step from its stored name and state.
            ///
            /// # Errors
            /// A message about an unknown name or an unreadable state.
            pub fn parse(name: &str, state: &Value) -> Result<Self, String> {
                match name {
                    $($step::NAME => serde_json::from_value(state.clone()).map(Self::$step)
                        .map_err(|error| format!("the state of step {name} cannot be read: {error}")),)+
                    _ => Err(format!("this version does not know the step {name:?}")),
                }
            }

            /// Returns the stored name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$step(_) => $step::NAME),+ }
            }

            /// Returns the state to store.
            pub fn state(&self) -> Value {
                let state = match self { $(Self::$step(step) => serde_json::to_value(step)),+ };
                // Plain structs of strings and numbers always serialise; `parse` would refuse a null instead of misreading it.
                state.unwrap_or(Value::Null)
            }

            /// Removes known secrets from the state.
            pub fn mask(&mut self, mask: &Mask) {
                let mut state = self.state();
                mask.value(&mut state);
                // Masking changes texts only, so the state stays readable.
                if let Ok(masked) = Self::parse(self.name(), &state) {
                    *self = masked;
                }
            }

            /// Returns the stage shown to users, 1 to 4.
            pub fn stage(&self) -> u8 {
                match self { $(Self::$step(_) => $step::STAGE),+ }
            }

            /// Returns the stage of each step in reports.
            pub fn stages() -> Vec<StepStage> {
                vec![$(StepStage { step: $step::NAME, stage: $step::REPORTED.0, later_stage: $step::REPORTED.1 }),+]
            }

            pub(crate) fn resource_class(&self) -> ResourceClass {
                match self { $(Self::$step(_) => $step::RESOURCE_CLASS),+ }
            }

            pub(crate) fn priority(&self) -> Priority {
                match self { $(Self::$step(_) => $step::PRIORITY),+ }
            }

            /// Returns the advisory lock to hold while the step runs.
            pub fn lock(&self) -> Option<&'static str> {
                match self { $(Self::$step(_) => $step::LOCK),+ }
            }

            /// Returns the time limit, waiting included.
            pub fn limit(&self, settings: &Settings) -> Duration {
                match self { $(Self::$step(step) => $step::limit(settings).saturating_add(step.extra_limit())),+ }
            }

            /// Returns the names of all steps with their longest time limits.
            pub fn limits(settings: &Settings) -> Vec<(String, Duration)> {
                vec![$(($step::NAME.to_owned(), $step::limit(settings).saturating_add($step::LONGEST_EXTRA))),+]
            }

            /// Returns the failure code when the time limit is exceeded and no error is more precise.
            pub fn timed_out(&self) -> ErrorCode {
                match self { $(Self::$step(_) => $step::TIMED_OUT),+ }
            }

            /// Returns how many executions of the push were followed before this step's; `None` if a failure of the step is final.
            pub fn replaced(&self) -> Option<u8> {
                match self { $(Self::$step(step) => step.replaced()),+ }
            }

            /// Returns the outcome that replaces a failure when the time limit is exceeded; `last_error` is the error of the last run.
            pub fn after_limit(&self, last_error: Option<ErrorCode>) -> Option<StepOutcome> {
                match self { $(Self::$step(step) => step.after_limit(last_error)),+ }
            }

            /// Finds the cause after the time limit was exceeded; `None` if there is nothing to add.
            pub async fn timeout_cause(&self, cx: &StepContext<'_>) -> Option<String> {
                match self { $(Self::$step(step) => Box::pin(step.timeout_cause(cx)).await),+ }
            }

            /// Runs the step. Boxed: thousands of deployments sleep between two runs, and each would otherwise reserve the size of the largest step.
            pub async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
                let ran = match self { $(Self::$step(step) => Box::pin(step.run(cx)).await),+ };
                let outcome = Box::pin(replacement::instead_of_failure(cx, self, ran)).await?;
                Ok(Box::pin(rollout::with_deadline(cx, outcome)).await)
            }

            /// Returns the step that follows a request to cancel; `None` if the cancellation is already in progress.
            pub fn cancelled(&self) -> Option<Self> {
                match self {
                    Self::Cancel(_) => None,
                    _ => Some(Cancel::of(self.name(), self.state(), self.stage()).into()),
                }
            }

            /// Returns the step for a connection whose credentials are known to be refused: a cancellation then does not wait for their renewal.
            #[must_use]
            pub fn without_credentials(self) -> Self {
                match self {
                    Self::Cancel(cancel) => Cancel { refused: true, ..cancel }.into(),
                    other => other,
                }
            }

            /// Returns the names of the steps that need a build permit.
            pub fn heavy_names() -> Vec<String> {
                [$(($step::NAME, $step::RESOURCE_CLASS)),+].into_iter()
                    .filter(|(_, class)| *class == ResourceClass::Heavy)
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
    CheckRollout,
    VerifyGreen,
    AwaitSwitch,
    SwitchTraffic,
    ConfirmSwitch,
    WatchTraffic,
    Resume,
    Cancel,
}

/// Stored name of the first step of a deployment.
pub const FIRST_STEP: &str = EnsureEventRule::NAME;

/// Stored name of the first step of every further attempt.
pub const RETRY_STEP: &str = Resume::NAME;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Rows of running deployments contain these names: renaming one would strand them.
    #[test]
    fn stored_names_and_states_are_stable() {
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
                "check_rollout",
                "verify_green",
                "await_switch",
                "switch_traffic",
                "confirm_switch",
                "watch_traffic",
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
            ("push_image", json!({"image": "", "again": true})),
            ("find_execution", json!({"image_tag": "dep_1", "image_digest": "sha256:0"})),
            ("find_execution", json!({"image_tag": "dep_1-2", "image_digest": "sha256:0", "existing": true})),
            ("find_execution", json!({"image_tag": "dep_1-2", "image_digest": "sha256:0", "again": true})),
            ("follow_execution", json!({"execution_arn": "arn:x", "task_failed": false})),
            (
                "follow_execution",
                json!({"execution_arn": "arn:x", "task_failed": true, "memory": {"failures": {"7": "E: c"}}}),
            ),
            ("check_rollout", json!({"code_deploy_deployment_id": "d-1", "seen": "nothing"})),
            ("verify_green", json!({"green_url": "http://g", "code_deploy_deployment_id": "d-1"})),
            ("await_switch", json!({"code_deploy_deployment_id": "d-1"})),
            ("switch_traffic", json!({"code_deploy_deployment_id": "d-1"})),
            ("switch_traffic", json!({"code_deploy_deployment_id": "d-1", "replaced": 1})),
            ("confirm_switch", json!({"code_deploy_deployment_id": "d-1"})),
            ("watch_traffic", json!({"code_deploy_deployment_id": "d-1"})),
            ("watch_traffic", json!({"code_deploy_deployment_id": "d-1", "looks_after_end": 2})),
            (
                "resume",
                json!({"step": "push_image", "state": {"image": "a-b:dep_1"}, "past": {"execution_arn": "arn:x"}}),
            ),
            ("cancel", json!({"during": "build_image", "stage": 1, "looks": 0, "stopping": false})),
            ("cancel", json!({"during": "push_image", "stage": 2, "looks": 0, "stopping": false, "refused": true})),
        ] {
            let step = Step::parse(name, &state).unwrap();
            assert_eq!((step.name(), step.state()), (name, state));
        }
        assert!(Step::parse(FIRST_STEP, &json!({})).is_ok(), "a new row has no state");
        assert!(Step::parse("follow_execution", &json!({})).unwrap_err().contains("execution_arn"));
        assert!(Step::parse("dance", &json!({})).unwrap_err().contains("dance"));
    }

    #[test]
    fn only_build_steps_need_a_permit() {
        assert_eq!(Step::heavy_names(), ["fetch_source", "build_image", "push_image"]);
    }
}
