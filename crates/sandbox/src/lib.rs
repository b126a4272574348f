//! A stateful local AWS (and GitHub) that speaks the real wire protocols, for `panda up`, `panda demo` and tests.
//!
//! Only `cli` and tests use this module.
//!
//! # Design
//!
//! One process, one HTTP port, two accounts in one region. The real SDK clients reach it through `endpoint_url`; the
//! access key id in the `SigV4` header identifies the calling account. Signatures are not verified, but the key must be
//! known (it is random) and the credential must be scoped to [`Sandbox::region`].
//!
//! # The causal chain
//!
//! Nothing is scripted by time alone: without one link, none of the later ones happens:
//!
//! 1. a real registry reports a push to [`Sandbox::notification_url`] (`chain`), and the image is recorded in ECR
//!    if the repository was created there. As in ECR, a digest that the tag already points to raises no event;
//! 2. an `ECR Image Action` event is put on the user's default bus, where rules match it (`pattern`: exact values,
//!    arrays and nested objects; `PutRule` rejects other content filters);
//! 3. it crosses to the controller's bus when a rule has that bus as target *and* the bus's policy permits the account;
//! 4. there the pipeline's own rule starts an execution, which first writes its ARN into the secret
//!    `panda/stepfunctions/{repository}-latest-execution` and then runs its task states (`pipeline`);
//! 5. blue and green are containers (or, before the first deployment, a placeholder) behind an HTTP proxy with a
//!    production and a test listener per service (`ecs`); `ContinueDeployment` moves the production listener.
//!
//! # Start
//!
//! The registry needs the notification URL and the sandbox needs the registry's address. Either order works:
//! [`Sandbox::start`] with `registry: None`, start the registry with [`Sandbox::notification_url`], then
//! [`Sandbox::set_registry`]; or bind the sandbox to a known address and pass the registry to `start`. Until the registry is
//! known, ECR calls that need it answer `ServerException`.
//!
//! # Faults and effects
//!
//! [`Sandbox::faults`], or `PUT {control_url}/faults` with the JSON of [`Faults`] from another process, injects faults.
//! [`Sandbox::set_weights`], or `PUT {control_url}/weights`, changes the weights of a production listener as infrastructure code would.
//! [`Sandbox::console`], or `PUT {control_url}/console`, continues, stops or rolls back a rollout as a user of AWS or an alarm would.
//! [`Sandbox::faults`], or `PUT {control_url}/faults` with the JSON of [`Faults`] from another process, injects faults. A [`Scenario`] has faults from the
//! start on, with region, roles and timing.
//! [`Sandbox::effects`], or `GET {control_url}/effects`, counts the effects of calls, for tests of "exactly once".

#![allow(clippy::disallowed_methods, reason = "only tests and the user of this machine call it")]

pub mod git;
pub mod github;

mod accounts;
mod aws;
mod balancer_names;
mod calls;
mod chain;
mod console;
mod control;
mod dice;
mod ecs;
mod effects;
mod faults;
mod handle;
mod history_gaps;
mod options;
mod pattern;
mod pipeline;
mod place;
mod planned;
mod quotas;
mod scenario;
mod simulation;
mod target_role;
mod tasks;
mod visibility;
mod wire;

pub use aws::service_deployment::RolloutStyle;
pub use console::ConsoleAct;
pub use ecs::CONTAINER_LABEL;
pub use effects::{CallCount, Effects, RepositoryEffects};
pub use faults::{
    CallFault, CanaryConfiguration, ExecutionFault, Faults, FaultsHandle, InjectedError, Outcome, SandboxAlarm,
    SecretFault, ShiftFault,
};
pub use handle::Sandbox;
pub use options::{RegistryAddress, SandboxCredentials, SandboxError, SandboxOptions, Timing};
pub use planned::{PartialFailure, PlannedError};
pub use quotas::{BucketSize, aws_quotas};
pub use scenario::{Scenario, ScenarioError, ScenarioRole, ScenarioTiming};
pub use visibility::{Lag, Visibility};
