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
//! A new step is a file with an `impl RunStep` and a line in the list of `step.rs`. Stored names never change their meaning.

mod await_switch;
mod build_config;
mod build_image;
mod builder;
mod cancel;
mod check_gates;
mod check_rollout;
mod confirm_switch;
mod context;
mod ecr_repository;
mod ensure_event_rule;
mod fetch_source;
mod find_execution;
mod find_rollout;
mod follow_execution;
mod gate_events;
mod gate_reading;
mod grant_event_bus;
mod latest_execution;
mod listener_guard;
mod missing_link;
mod outcome;
mod publish_image;
mod push_image;
mod replacement;
mod reporter;
mod resume;
mod roll_back;
mod rollout;
mod step;
mod switch_traffic;
mod verify_green;
mod watch_traffic;
mod workspace;

pub use await_switch::AwaitSwitch;
pub use build_image::{BuildImage, DEPLOYMENT_LABEL};
pub use cancel::Cancel;
pub use check_gates::CheckGates;
pub use check_rollout::CheckRollout;
pub use confirm_switch::ConfirmSwitch;
pub use context::{Services, Settings, StepContext};
pub use ensure_event_rule::EnsureEventRule;
pub use fetch_source::FetchSource;
pub use find_execution::FindExecution;
pub use find_rollout::FindRollout;
pub use follow_execution::FollowExecution;
pub use grant_event_bus::{BUS_POLICY_LOCK, GrantEventBus};
pub use outcome::{Pace, StepError, StepOutcome, Transition};
pub use push_image::PushImage;
pub use reporter::Reporter;
pub use resume::Resume;
pub use roll_back::RollBack;
pub use step::{AWAIT_SWITCH, FIRST_STEP, RETRY_STEP, ResourceClass, Step};
use step::{RunStep, is_default};
pub use switch_traffic::SwitchTraffic;
pub use verify_green::VerifyGreen;
pub use watch_traffic::WatchTraffic;
pub use workspace::{remove_workspace, workspace_of};
