//! `/api/v1/deploy…`: start, list, follow, switch, cancel, retry.

pub mod cancel;
pub mod create;
pub mod current;
pub mod events;
pub mod list;
mod missing;
pub mod result;
pub mod retry;
pub mod switch;
pub mod ticket;
pub mod what;
pub mod wish;
