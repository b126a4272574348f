//! Reads the execution that the pipeline's secret names. The secret is a mailbox: it may hold the ARN of an earlier execution.

use super::StepContext;
use crate::clients::aws::Execution;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::execution_input::execution_arn;

/// Content of the secret.
pub(super) enum LatestExecution {
    /// The secret does not exist, or has no value.
    NoSecret,
    /// The secret's value is no ARN of an execution.
    NoArn,
    /// The execution with this ARN does not exist (any more).
    Gone(String),
    /// The execution that the secret names.
    Named(Box<Execution>),
}

impl LatestExecution {
    /// Reads the secret of the deployment's source, and the execution that it names.
    pub(super) async fn read(cx: &StepContext<'_>) -> Result<Self, ClientError> {
        let controller = cx.services.aws.controller();
        let Some(value) = controller.secrets.value(&secret_of(cx)).await? else { return Ok(Self::NoSecret) };
        let Some(arn) = execution_arn(&value) else { return Ok(Self::NoArn) };
        match controller.executions.describe(&arn).await {
            Ok(execution) => Ok(Self::Named(execution.into())),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Self::Gone(arn)),
            Err(error) => Err(error),
        }
    }
}

/// Returns the name of the secret.
pub(super) fn secret_of(cx: &StepContext<'_>) -> String {
    cx.services.names.secret(&cx.deployment.owner, &cx.deployment.repo)
}
