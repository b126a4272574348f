//! `/api/v1/deploy…`: start, list, follow, switch, cancel.

pub mod cancel;
pub mod create;
pub mod current;
pub mod events;
pub mod list;
pub mod result;
pub mod switch;
