//! `/api/v1/deploy…`: endpoints that start, list, follow, switch, cancel and retry deployments.

pub mod cancel;
pub mod command;
pub mod create;
pub mod current;
pub mod error;
pub mod events;
pub mod freeze;
pub mod list;
pub mod log;
pub mod not_found;
pub mod outcome;
pub mod path;
pub mod replay;
pub mod requested;
pub mod result;
pub mod retry;
pub mod rollback;
pub mod switch;
pub mod ticket;
