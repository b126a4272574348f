//! Authorization: role and scope of the caller. Routes check the role as well, before they read a request.

use super::error::CommandError;
use crate::domain::message::message;
use crate::domain::principal::{Caller, Role, Scope};

/// Requires at least the role `needed`.
///
/// # Errors
/// [`CommandError::NotAllowed`] otherwise.
pub fn require_role(by: &Caller, needed: Role) -> Result<(), CommandError> {
    let role = by.principal.role;
    if role >= needed { Ok(()) } else { Err(CommandError::NotAllowed { needed, role }) }
}

/// Requires the scope of all repositories, for what concerns all of them: log lines, retention, subjects that may have acted anywhere.
///
/// # Errors
/// [`CommandError::OutOfScope`] otherwise.
pub fn require_all_repositories(by: &Caller) -> Result<(), CommandError> {
    if *by.scope() == Scope::All { Ok(()) } else { Err(CommandError::OutOfScope(message!("OUT_OF_SCOPE.all"))) }
}
