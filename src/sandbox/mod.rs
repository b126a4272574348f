//! A stateful local AWS (and GitHub) that speaks the real wire protocols, for `panda up`, `panda demo` and tests.
//!
//! Nothing of the program uses this room but `main`/`cli` and tests.
//!
//! # What it is
//!
//! One process, one HTTP port, two accounts in one region. The real SDK clients reach it through `endpoint_url`; the
//! access key id in the `SigV4` header says which account is calling. Signatures are not verified, but the key must be
//! known (it is random) and the credential must be scoped to [`Sandbox::region`].
//!
//! # The chain is causal
//!
//! Nothing here is scripted by time alone; take one link away and nothing after it happens:
//!
//! 1. a real registry reports a push to [`Sandbox::notification_url`] (`chain`), and the image is recorded in ECR
//!    if the repository was created there. As in ECR, a digest that the tag already points to raises no event;
//! 2. an `ECR Image Action` event is put on the user's default bus, where rules match it (`pattern`: exact values,
//!    arrays and nested objects; other content filters are refused by `PutRule`);
//! 3. it crosses to the controller's bus when a rule has that bus as target *and* the bus's policy permits the account;
//! 4. there the pipeline's own rule starts an execution, which first writes its ARN into the secret
//!    `panda/stepfunctions/{repository}-latest-execution` and then runs its task states (`pipeline`);
//! 5. blue and green are containers (or, before the first deployment, a placeholder) behind an HTTP proxy with a
//!    production and a test listener a service (`ecs`); `ContinueDeployment` moves the production listener.
//!
//! # Starting it
//!
//! The registry needs the notification URL and the sandbox needs the registry's address. Either order works:
//! [`Sandbox::start`] with `registry: None`, start the registry with [`Sandbox::notification_url`], then
//! [`Sandbox::set_registry`]; or bind the sandbox to a known address and give the registry at once. Until the registry is
//! known, ECR calls that name it answer `ServerException`.
//!
//! # Faults and effects
//!
//! [`Sandbox::faults`], or `PUT {control_url}/faults` with the JSON of [`Faults`] from another process, makes things go wrong.
//! [`Sandbox::effects`], or `GET {control_url}/effects`, counts what really happened, for tests of "exactly once".

pub mod git;
pub mod github;
pub mod parts;

mod accounts;
mod aws;
mod chain;
mod control;
mod ecs;
mod effects;
mod faults;
mod handle;
mod options;
mod pattern;
mod pipeline;
mod readings;
mod wire;
mod world;

pub use ecs::CONTAINER_LABEL;
pub use effects::{CallCount, Effects, RepositoryEffects};
pub use faults::{CallFault, ExecutionFault, Faults, FaultsHandle, Outcome, Refusal, SecretFault, ShiftFault};
pub use handle::Sandbox;
pub use options::{RegistryAddress, SandboxCredentials, SandboxError, SandboxOptions, Timing};
