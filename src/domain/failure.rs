//! Stable error codes of failed deployments. The catalogue has each text under the code in lower case.

use std::fmt;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal / $event:literal),+ $(,)?) => {
        /// Reason of a deployment's failure. Codes never change, because dashboards and scripts match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant),+ }

        impl ErrorCode {
            /// Every code, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the code that clients see in `errorCode`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// Returns the meaning, for the page of errors.
            #[cfg(test)]
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }

            /// Returns the code of the matching `fail` event in the catalogue.
            pub fn event_code(self) -> &'static str {
                match self { $(Self::$variant => $event),+ }
            }
        }
    };
}

error_codes! {
    /// The rule or its target could not be put into the user's account.
    EventRuleFailed = "EVENT_RULE_FAILED" / "event_rule_failed",
    /// The permission for the user's account could not be put on the controller's event bus.
    EventBusPermissionFailed = "EVENT_BUS_PERMISSION_FAILED" / "event_bus_permission_failed",
    /// The repository has no such branch.
    BranchNotFound = "BRANCH_NOT_FOUND" / "branch_not_found",
    /// The repository has no such tag.
    TagNotFound = "TAG_NOT_FOUND" / "tag_not_found",
    /// The repository has no such commit, or its server does not serve commits by id.
    CommitNotFound = "COMMIT_NOT_FOUND" / "commit_not_found",
    /// The repository does not exist, or the token may not see it.
    RepositoryNotFound = "REPOSITORY_NOT_FOUND" / "repository_not_found",
    /// GitHub refused the token of the source connection.
    SourceAccessDenied = "SOURCE_ACCESS_DENIED" / "source_access_denied",
    /// The source is larger than a limit: bytes, files, one file, memory or processor time.
    SourceTooLarge = "SOURCE_TOO_LARGE" / "source_too_large",
    /// The source could not be fetched for another reason.
    SourceFetchFailed = "SOURCE_FETCH_FAILED" / "source_fetch_failed",
    /// The repository has no Dockerfile.
    DockerfileNotFound = "DOCKERFILE_NOT_FOUND" / "dockerfile_not_found",
    /// A base image of the Dockerfile does not exist.
    BaseImageNotFound = "BASE_IMAGE_NOT_FOUND" / "base_image_not_found",
    /// The registry of a base image refuses the login, or asks for one.
    BaseImageDenied = "BASE_IMAGE_DENIED" / "base_image_denied",
    /// A registry did not answer, or answered with a server error.
    RegistryUnavailable = "REGISTRY_UNAVAILABLE" / "registry_unavailable",
    /// A build step was killed because it ran out of memory.
    BuildOutOfMemory = "BUILD_OUT_OF_MEMORY" / "build_out_of_memory",
    /// The builder's disk is full.
    BuilderDiskFull = "BUILDER_DISK_FULL" / "builder_disk_full",
    /// Several files of the repository could be the Dockerfile.
    DockerfileAmbiguous = "DOCKERFILE_AMBIGUOUS" / "dockerfile_ambiguous",
    /// The context folder, the Dockerfile or the ignore file cannot be used.
    BuildContextInvalid = "BUILD_CONTEXT_INVALID" / "build_context_invalid",
    /// The Dockerfile needs BuildKit, but only the classic builder is available.
    BuildkitRequired = "BUILDKIT_REQUIRED" / "buildkit_required",
    /// `panda.toml` of the repository is invalid, or a build secret that the build names does not exist.
    BuildConfigInvalid = "BUILD_CONFIG_INVALID" / "build_config_invalid",
    /// The requested image is not in ECR.
    ImageNotFound = "IMAGE_NOT_FOUND" / "image_not_found",
    /// The engine could not build the image.
    BuildFailed = "BUILD_FAILED" / "build_failed",
    /// The Docker engine did not answer within the step's time limit.
    DockerUnavailable = "DOCKER_UNAVAILABLE" / "docker_unavailable",
    /// The ECR repository could not be ensured, or ECR gave no login.
    EcrFailed = "ECR_FAILED" / "ecr_failed",
    /// ECR denied a call that the deployment requires.
    EcrAccessDenied = "ECR_ACCESS_DENIED" / "ecr_access_denied",
    /// The ECR repository's name belongs to another source repository.
    RepositoryNameTaken = "REPOSITORY_NAME_TAKEN" / "repository_name_taken",
    /// The registry refused the image.
    PushFailed = "PUSH_FAILED" / "push_failed",
    /// The registry denied the push, even with a new login.
    RegistryAccessDenied = "REGISTRY_ACCESS_DENIED" / "registry_access_denied",
    /// No execution for this deployment's image appeared in time.
    ExecutionNotFound = "EXECUTION_NOT_FOUND" / "execution_not_found",
    /// The execution ended with `ExecutionFailed`.
    ExecutionFailed = "EXECUTION_FAILED" / "execution_failed",
    /// The execution exceeded its own time limit.
    ExecutionTimedOut = "EXECUTION_TIMED_OUT" / "execution_timed_out",
    /// The execution was aborted outside Panda.
    ExecutionAborted = "EXECUTION_ABORTED" / "execution_aborted",
    /// The execution's output lacks what the switch needs.
    ExecutionOutputInvalid = "EXECUTION_OUTPUT_INVALID" / "execution_output_invalid",
    /// The execution did not end within the time limit for following it.
    FollowTimedOut = "FOLLOW_TIMED_OUT" / "follow_timed_out",
    /// Step Functions did not return the execution's history.
    ExecutionUnreadable = "EXECUTION_UNREADABLE" / "execution_unreadable",
    /// The green service did not pass its health checks.
    GreenUnhealthy = "GREEN_UNHEALTHY" / "green_unhealthy",
    /// A gate of the policy did not pass, and no traffic had moved.
    GateFailed = "GATE_FAILED" / "gate_failed",
    /// The load balancer's listener or the health of green's targets could not be read before the switch. Code of a try; the deployment does not fail with it.
    ListenerUnreadable = "LISTENER_UNREADABLE" / "listener_unreadable",
    /// CodeDeploy refused, failed or stopped the traffic switch.
    SwitchFailed = "SWITCH_FAILED" / "switch_failed",
    /// The traffic did not shift to green within the time limit.
    SwitchTimedOut = "SWITCH_TIMED_OUT" / "switch_timed_out",
    /// AWS ended the wait for the switch at its deadline.
    SwitchExpired = "SWITCH_EXPIRED" / "switch_expired",
    /// CodeDeploy stopped or failed the deployment outside Panda while it awaited its switch.
    StoppedWhileReady = "STOPPED_WHILE_READY" / "stopped_while_ready",
    /// AWS took the traffic back to blue after the switch: a hook failed, an alarm rang, the deployment was stopped, or a rollback was requested.
    RolledBackAfterSwitch = "ROLLED_BACK_AFTER_SWITCH" / "rolled_back_after_switch",
    /// A connection that the deployment needs was removed or is unusable.
    ConnectionUnusable = "CONNECTION_UNUSABLE" / "connection_unusable",
    /// The deployment was cancelled on request.
    Cancelled = "CANCELLED" / "cancelled",
    /// The attempt was not ready for the switch within the time limit of a whole attempt.
    DeploymentTimedOut = "DEPLOYMENT_TIMED_OUT" / "deployment_timed_out",
    /// A step did not end within its time limit.
    StepTimedOut = "STEP_TIMED_OUT" / "step_timed_out",
    /// A step repeatedly crashed its process.
    StepCrashed = "STEP_CRASHED" / "step_crashed",
    /// This version of Panda does not know the row's step or its state.
    Internal = "INTERNAL" / "internal",
}

/// Cause of a failed build. It determines who has to act and if a retry makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum BuildFault {
    /// The Dockerfile, or a command that it runs, is at fault. A retry of the same source fails again.
    Source,
    /// A step was killed because it, or other builds on the builder, used too much memory. A retry may succeed.
    OutOfMemory,
    /// A base image does not exist.
    BaseImageNotFound,
    /// The registry of a base image refuses the login, or asks for one.
    BaseImageDenied,
    /// A registry did not answer, or is temporarily unavailable. A retry may succeed.
    RegistryUnavailable,
    /// The registry denies the push of a remote builder.
    PushDenied,
    /// The builder's disk is full; the operator must act. A retry may succeed once there is space.
    DiskFull,
}

impl BuildFault {
    /// Every fault, for metrics.
    pub const ALL: [Self; 7] = [
        Self::Source,
        Self::OutOfMemory,
        Self::BaseImageNotFound,
        Self::BaseImageDenied,
        Self::RegistryUnavailable,
        Self::PushDenied,
        Self::DiskFull,
    ];

    /// Returns the label value used in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the error code of a deployment that fails for this cause.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Source => ErrorCode::BuildFailed,
            Self::OutOfMemory => ErrorCode::BuildOutOfMemory,
            Self::BaseImageNotFound => ErrorCode::BaseImageNotFound,
            Self::BaseImageDenied => ErrorCode::BaseImageDenied,
            Self::RegistryUnavailable => ErrorCode::RegistryUnavailable,
            Self::PushDenied => ErrorCode::RegistryAccessDenied,
            Self::DiskFull => ErrorCode::BuilderDiskFull,
        }
    }

    /// Returns true if the same build may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::OutOfMemory | Self::RegistryUnavailable | Self::DiskFull)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_code_is_the_error_code_in_lower_case() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().to_lowercase(), code.event_code());
        }
    }
}
