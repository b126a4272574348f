//! Joins the refusals of all areas. Each area has its own enum next to its commands; `http/error` has what a client receives.

use crate::clients::aws::RoleRefusal;
use crate::clients::github::GitHubError;
use crate::commands::connect::aws::error::AwsConnectError;
use crate::commands::connect::error::ConnectError;
use crate::commands::deploy::error::DeployError;
use crate::commands::freezes::error::FreezeError;
use crate::commands::github_apps::error::GithubAppError;
use crate::commands::push_hooks::error::PushHookError;
use crate::commands::receivers::error::ReceiverError;
use crate::commands::revocations::error::RevocationError;
use crate::commands::schedules::error::ScheduleError;
use crate::commands::tokens::error::TokenError;
use crate::db::DbError;
use crate::domain::message::Message;
use crate::domain::principal::Role;
use crate::domain::validate::FieldRefusal;

/// Reason for which a command stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The caller's role is too low.
    #[error("needs the role {needed}, the caller has {role}")]
    NotAllowed {
        /// Minimum role for the command.
        needed: Role,
        /// Role that the caller has.
        role: Role,
    },
    /// These repositories, or this connection, are outside the caller's scope.
    #[error("out of scope: {0}")]
    OutOfScope(Message),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// A field of the request contradicts a rule.
    #[error(transparent)]
    Field(#[from] FieldRefusal),
    /// A deployment does not exist, or its state forbids the command.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A schedule does not exist, or was changed concurrently.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A freeze does not exist, or there are too many.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// A connection or build secret does not exist, or cannot be changed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// An AWS account cannot be connected, or its connection cannot be used.
    #[error(transparent)]
    Aws(#[from] AwsConnectError),
    /// Panda may not assume the role.
    #[error(transparent)]
    Role(#[from] RoleRefusal),
    /// GitHub did not confirm the repository and branch.
    #[error(transparent)]
    GitHub(#[from] GitHubError),
    /// A revocation does not exist.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// An API token does not exist.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A receiver does not exist, or cannot be changed.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// A push hook does not exist, or cannot be changed.
    #[error(transparent)]
    PushHook(#[from] PushHookError),
    /// An App cannot be created from a manifest, found or used.
    #[error(transparent)]
    GithubApp(#[from] GithubAppError),
    /// The database could not be read or written.
    #[error(transparent)]
    Database(#[from] DbError),
}
