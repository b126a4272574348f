//! Refusals of commands, as clients see them.

use super::ApiError;
use super::input::InputError;
use crate::commands::CommandError;
use crate::http::auth::error::AccessError;

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotAllowed { needed, role } => AccessError::NotAllowed { needed, role }.into(),
            CommandError::OutOfScope(what) => AccessError::OutOfScope(what).into(),
            CommandError::KeyReused => InputError::IdempotencyKeyReused.into(),
            CommandError::Field(refusal) => refusal.into(),
            CommandError::Deploy(error) => error.into(),
            CommandError::Schedule(error) => error.into(),
            CommandError::Connect(error) => error.into(),
            CommandError::Aws(error) => error.into(),
            CommandError::Role(refusal) => refusal.into(),
            CommandError::GitHub(error) => error.into(),
            CommandError::Revocation(error) => error.into(),
            CommandError::Freeze(error) => error.into(),
            CommandError::Token(error) => error.into(),
            CommandError::Receiver(error) => error.into(),
            CommandError::PushHook(error) => error.into(),
            CommandError::GithubApp(error) => error.into(),
            CommandError::Database(error) => error.into(),
        }
    }
}
