//! `/api/v1/reports…`: report queries about past deployments. docs/reporting.md has their SQL on the views of `panda_report`.

pub mod answer;
pub mod error;
pub mod list;
