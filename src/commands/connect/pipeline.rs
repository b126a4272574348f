//! Checks an execution of the pipeline, which is the other half of every connection, against the contract. Only reads, and stores nothing.

use super::aws::error::AwsConnectError;
use crate::clients::aws::{Aws, ControllerAws};
use crate::clients::{ClientError, ErrorKind};
use crate::commands::access::{require_all_repositories, require_role};
use crate::commands::error::CommandError;
use crate::domain::execution_input::{execution_arn, repository_of};
use crate::domain::history::{Checked, ClauseFinding, HistoryEvent, LatestArn, RawEvent, check_contract};
use crate::domain::names::Names;
use crate::domain::principal::{Caller, Role};

/// An execution with the findings about it.
#[derive(Clone, Debug)]
pub struct CheckedExecution {
    /// Name of the secret, empty if it does not follow from the input.
    pub secret: String,
    /// What was found about each clause, in the order of the document.
    pub findings: Vec<ClauseFinding>,
}

/// Reads the execution, its history and the secret, and checks each clause.
///
/// # Errors
/// The caller is no admin of all repositories, there is no such execution, or AWS refuses or does not answer.
pub async fn check(aws: &Aws, names: &Names, arn: &str, by: &Caller) -> Result<CheckedExecution, CommandError> {
    require_role(by, Role::Admin)?;
    // Executions belong to any repository.
    require_all_repositories(by)?;
    let controller = aws.controller();
    let refused = |error| failed(error, arn);
    let execution = controller.executions.describe(arn).await.map_err(refused)?;
    let raw = controller.executions.history_after(arn, 0).await.map_err(refused)?;
    let history: Vec<HistoryEvent> = raw.iter().map(RawEvent::event).collect();
    let pushed = execution.input.as_deref().and_then(repository_of);
    let secret = pushed.as_ref().and_then(|pushed| names.secret_of(&pushed.repository));
    let latest = match &secret {
        None => LatestArn::Unnamed,
        Some(secret) => latest(controller, secret).await.map_err(refused)?,
    };
    let account = pushed.and_then(|pushed| pushed.account);
    let accounts: Vec<&str> = arn.split(':').nth(4).into_iter().chain(account.as_deref()).collect();
    let secret = secret.unwrap_or_default();
    let checked = Checked {
        arn,
        input: execution.input.as_deref(),
        secret: &secret,
        latest: &latest,
        accounts: &accounts,
        history: &history,
    };
    let findings = check_contract(names, &checked);
    Ok(CheckedExecution { secret, findings })
}

async fn latest(controller: &ControllerAws, secret: &str) -> Result<LatestArn, ClientError> {
    let value = controller.secrets.value(secret).await?;
    Ok(match value {
        None => LatestArn::Absent,
        Some(value) => execution_arn(&value).map_or(LatestArn::WithoutArn, LatestArn::Named),
    })
}

fn failed(error: ClientError, arn: &str) -> CommandError {
    match error.kind {
        ErrorKind::NotFound => AwsConnectError::NoExecution(arn.to_owned()),
        ErrorKind::Denied | ErrorKind::Credentials | ErrorKind::Invalid | ErrorKind::LimitExceeded => {
            AwsConnectError::ExecutionRefused(error.to_string())
        }
        ErrorKind::Conflict | ErrorKind::Throttled | ErrorKind::Unavailable => AwsConnectError::Unavailable(error),
    }
    .into()
}
