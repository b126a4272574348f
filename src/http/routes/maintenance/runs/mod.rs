//! `/api/v1/maintenance/runs`: lists and requests maintenance runs.

pub mod list;
pub mod start;
