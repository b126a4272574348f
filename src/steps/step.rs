//! The behaviour of a step, and the list of all steps.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    AwaitSwitch, BuildImage, Cancel, CheckGates, CheckRollout, ConfirmSwitch, EnsureEventRule, FetchSource,
    FindExecution, FindRollout, FollowExecution, GrantEventBus, PushImage, Resume, RollBack, Settings, StepContext,
    StepError, StepOutcome, SwitchTraffic, VerifyGreen, WatchTraffic, listener_guard, replacement, rollout,
};
use crate::clients::aws::Priority;
use crate::domain::failure::ErrorCode;
use crate::domain::mask::Mask;
use crate::domain::reason::Reason;
use crate::domain::step_stage::StepStage;

/// Resource class of a step: the permits that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceClass {
    /// No permit: the step only makes short calls.
    Light,
    /// A build permit: the step uses disk, CPU and the engine for minutes.
    Heavy,
}

/// Behaviour of one step; the implementing type is the step's stored state.
pub(super) trait RunStep: Serialize + DeserializeOwned {
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
    async fn timeout_cause(&self, _: &StepContext<'_>) -> Option<Reason> {
        None
    }

    /// Checks the external services, acts where needed, and returns the next transition.
    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError>;
}

/// Leaves a field with the default value out of a stored state.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
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

            /// Restores a step from its stored name and state, which is JSON.
            ///
            /// # Errors
            /// A message about an unknown name or an unreadable state.
            pub fn parse(name: &str, state: &str) -> Result<Self, String> {
                match name {
                    $($step::NAME => serde_json::from_str(state).map(Self::$step)
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
                if let Ok(masked) = Self::parse(self.name(), &state.to_string()) {
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
            pub async fn timeout_cause(&self, cx: &StepContext<'_>) -> Option<Reason> {
                match self { $(Self::$step(step) => Box::pin(step.timeout_cause(cx)).await),+ }
            }

            /// Runs the step. Boxed: thousands of deployments sleep between two runs, and each would otherwise reserve the size of the largest step.
            pub async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
                let ran = match self { $(Self::$step(step) => Box::pin(step.run(cx)).await),+ };
                // Most runs are polls without news: nothing below concerns them.
                if matches!(&ran, Ok(outcome) if outcome.is_quiet(cx.deployment)) {
                    return ran;
                }
                let outcome = Box::pin(replacement::instead_of_failure(cx, self, ran)).await?;
                let outcome = Box::pin(rollout::with_pause(cx, outcome)).await;
                Ok(Box::pin(listener_guard::with_routes(cx, outcome)).await)
            }

            /// Reports that the step ends the deployment on request, whatever happens.
            pub fn is_ending(&self) -> bool {
                matches!(self, Self::Cancel(_) | Self::RollBack(_))
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
    FindRollout,
    CheckRollout,
    VerifyGreen,
    AwaitSwitch,
    CheckGates,
    SwitchTraffic,
    ConfirmSwitch,
    WatchTraffic,
    Resume,
    Cancel,
    RollBack,
}

/// Stored name of the first step of a deployment.
pub const FIRST_STEP: &str = EnsureEventRule::NAME;

/// Stored name of the step that waits for the switch.
pub const AWAIT_SWITCH: &str = AwaitSwitch::NAME;

/// Stored name of the first step of every further attempt.
pub const RETRY_STEP: &str = Resume::NAME;
