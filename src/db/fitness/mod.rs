//! Whether a database is one that Panda can run on, beside having its tables: encoding, schema, privileges, sequences.
//!
//! Each finding names the value found and the remedy: without them the first symptom is a failed statement much later.

mod app_role;
mod database;
mod privileges;
mod sequences;

pub use app_role::{AppRole, AppRoleError};
pub use database::Unfit;
pub(super) use privileges::PrivilegeCache;
pub use privileges::{MissingPrivilege, tables};
