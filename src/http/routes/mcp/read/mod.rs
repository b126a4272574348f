//! Tools that read. Each reads as its endpoint does, in the caller's scope.

pub mod events;
pub mod explain;
pub mod list;
pub mod log;
pub mod report;
pub mod result;
pub mod search;
