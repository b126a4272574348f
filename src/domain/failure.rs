//! Every way for a deployment to fail, as a stable code. Its text is in the catalogue, under the code in lower case.

use std::fmt;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal / $event:literal),+ $(,)?) => {
        /// Why a deployment failed. Codes are for ever: dashboards and scripts match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant),+ }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as clients see it, in `errorCode`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The code of its `fail` event in the catalogue.
            pub fn event_code(self) -> &'static str {
                match self { $(Self::$variant => $event),+ }
            }
        }
    };
}

error_codes! {
    /// The rule or its target could not be put into the user's account.
    EventRuleFailed = "EVENT_RULE_FAILED" / "event_rule_failed",
    /// The controller's event bus did not take the permission for the user's account.
    EventBusPermissionFailed = "EVENT_BUS_PERMISSION_FAILED" / "event_bus_permission_failed",
    /// The repository has no such branch.
    BranchNotFound = "BRANCH_NOT_FOUND" / "branch_not_found",
    /// The repository does not exist, or the token may not see it.
    RepositoryNotFound = "REPOSITORY_NOT_FOUND" / "repository_not_found",
    /// The source's token was refused.
    SourceAccessDenied = "SOURCE_ACCESS_DENIED" / "source_access_denied",
    /// The source could not be fetched for another reason.
    SourceFetchFailed = "SOURCE_FETCH_FAILED" / "source_fetch_failed",
    /// The repository has no Dockerfile.
    DockerfileNotFound = "DOCKERFILE_NOT_FOUND" / "dockerfile_not_found",
    /// The engine could not build the image.
    BuildFailed = "BUILD_FAILED" / "build_failed",
    /// The Docker engine did not answer for as long as the step may take.
    DockerUnavailable = "DOCKER_UNAVAILABLE" / "docker_unavailable",
    /// The ECR repository could not be ensured, or ECR gave no login.
    EcrFailed = "ECR_FAILED" / "ecr_failed",
    /// The ECR repository's name belongs to another source repository.
    RepositoryNameTaken = "REPOSITORY_NAME_TAKEN" / "repository_name_taken",
    /// The registry refused the image.
    PushFailed = "PUSH_FAILED" / "push_failed",
    /// No execution for this deployment's image appeared in time.
    ExecutionNotFound = "EXECUTION_NOT_FOUND" / "execution_not_found",
    /// The execution failed.
    ExecutionFailed = "EXECUTION_FAILED" / "execution_failed",
    /// The execution timed out by its own limit.
    ExecutionTimedOut = "EXECUTION_TIMED_OUT" / "execution_timed_out",
    /// Somebody aborted the execution.
    ExecutionAborted = "EXECUTION_ABORTED" / "execution_aborted",
    /// The execution's output lacks what the switch needs.
    ExecutionOutputInvalid = "EXECUTION_OUTPUT_INVALID" / "execution_output_invalid",
    /// The execution was not done within the longest time that Panda follows it.
    FollowTimedOut = "FOLLOW_TIMED_OUT" / "follow_timed_out",
    /// Step Functions could not be asked.
    ExecutionUnreadable = "EXECUTION_UNREADABLE" / "execution_unreadable",
    /// The green service did not pass its health checks.
    GreenUnhealthy = "GREEN_UNHEALTHY" / "green_unhealthy",
    /// CodeDeploy refused, failed or stopped the traffic switch.
    SwitchFailed = "SWITCH_FAILED" / "switch_failed",
    /// The traffic was not on green in time.
    SwitchTimedOut = "SWITCH_TIMED_OUT" / "switch_timed_out",
    /// A connection that the deployment needs is not there any more, or unusable.
    ConnectionUnusable = "CONNECTION_UNUSABLE" / "connection_unusable",
    /// A person stopped the deployment.
    Cancelled = "CANCELLED" / "cancelled",
    /// The attempt was not ready for the switch within the time that a whole attempt may take.
    DeploymentTimedOut = "DEPLOYMENT_TIMED_OUT" / "deployment_timed_out",
    /// A step did not end within its time limit.
    StepTimedOut = "STEP_TIMED_OUT" / "step_timed_out",
    /// A step ended its process again and again.
    StepCrashed = "STEP_CRASHED" / "step_crashed",
    /// The row's step cannot be understood by this version of Panda.
    Internal = "INTERNAL" / "internal",
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
    fn an_event_code_is_the_error_code_in_lower_case() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().to_lowercase(), code.event_code());
        }
    }
}
