//! Fitness of a database for Panda, besides its tables: encoding, schema, privileges, sequences.
//!
//! Each finding names the actual value and the remedy: without them the first symptom would be a failed statement much later.

mod app_role;
mod privileges;
mod requirements;
mod sequences;

pub use app_role::{AppRole, AppRoleError};
pub(super) use privileges::PrivilegeCache;
pub use privileges::{MissingPrivilege, tables};
pub use requirements::Unfit;
